import ArgumentParser
import FoundationEssentials

/// The help for `-h`: what a command does, three examples, and the options that most people need,
/// on one screen.
enum ShortHelp {
  private static let columns = 80

  /// The text that the arguments ask for; `nil` if they don't.
  static func text(for arguments: [String]) -> String? {
    let words = arguments.prefix { $0 != "--" }
    guard words.contains("-h"), !words.contains("--help") else { return nil }
    guard let first = words.first(where: { !$0.hasPrefix("-") }) else { return overview }
    let command = CondiConvert.commands.first { $0.page.name == first }
    return command.map(text)
  }

  private static func text(of command: any DocumentedCommand.Type) -> String {
    let page = command.page
    // Only what must be given: of few options, the parser's own usage lists each.
    let usage = CondiConvert.usageString(for: command)
      .replacing(/\x20\[(<options>|-[^\]]*)\]/, with: "")
      .replacing("\(CondiConvert.programName) \(page.name)", with: "")
    let examples = page.examples.prefix(3).map { "  " + $0.replacing("\n", with: "\n  ") }
    let options = entries(
      of: CondiConvert.helpMessage(for: command, columns: columns), named: page.essentials)
    return """
      \(page.abstract)

      Usage: \(CondiConvert.programName) \(page.name) [<options>]\(usage)

      \(examples.joined(separator: "\n"))

      \(options.joined(separator: "\n"))

      '\(CondiConvert.programName) \(page.name) --help' lists all options.
      """
  }

  /// The entries of a help message for options, each with the lines that go on with it.
  private static func entries(of help: String, named names: [String]) -> [String] {
    var (entries, current) = ([String: [String]](), String?.none)
    for line in help.split(separator: "\n").drop(while: { !$0.hasPrefix("USAGE:") }) {
      if line.hasPrefix("  -") {
        let words = line.split(whereSeparator: { $0 == " " || $0 == "," || $0 == "/" })
        current = names.first { words.contains($0[...]) }
      } else if !line.hasPrefix("        ") {
        current = nil
      }
      if let current { entries[current, default: []].append(String(line)) }
    }
    return names.flatMap { entries[$0] ?? [] }
  }

  private static var overview: String {
    let groups = CondiConvert.groups.map { group in
      let names = group.commands.map { $0.page.name }.joined(separator: ", ")
      return "  \(group.title)\(String(repeating: " ", count: 12 - group.title.count))\(names)"
    }
    return """
      \(CondiConvert.abstract)

      \(CondiConvert.examples.prefix(3).map { "  \($0)" }.joined(separator: "\n"))

      Commands:
      \(groups.joined(separator: "\n"))

      '\(CondiConvert.programName) COMMAND -h' shows how to use one, '--help' all that it can do.
      """
  }
}
