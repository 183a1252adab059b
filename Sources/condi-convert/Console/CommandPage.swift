import ArgumentParser

/// What a command says of itself: on a screen for `-h`, and in whole for `--help`.
///
/// The manual's page is in `Documentation/condi-convert.docc/Commands`, under the command's name.
struct CommandPage {
  let name: String
  let abstract: String
  /// Complete commands of at most 78 characters a line, the most usual ones first.
  let examples: [String]
  /// The options that most people need, as `--help` spells them, such as `--bits`.
  let essentials: [String]
  /// What must be known before the first use, such as exit codes.
  var notes: String?

  /// Returns names as indented lines of at most 78 characters.
  static func list(_ names: [String]) -> String {
    var lines = [" "]
    for (index, name) in names.enumerated() {
      let word = name + (index == names.count - 1 ? "" : ",")
      if lines[lines.count - 1].count + word.count > 76 { lines.append(" ") }
      lines[lines.count - 1] += " " + word
    }
    return lines.joined(separator: "\n")
  }

  var configuration: CommandConfiguration {
    let lines = examples.flatMap { $0.split(separator: "\n") }.map { "  \($0)" }
    let parts = [
      "EXAMPLES\n" + lines.joined(separator: "\n"), notes,
      "MANUAL\n  man condi-convert-\(name), once installed; -h shows the most needed options",
    ]
    return CommandConfiguration(
      commandName: name, abstract: abstract,
      discussion: parts.compactMap { $0 }.joined(separator: "\n\n"))
  }
}

/// A command with a page.
protocol DocumentedCommand: ParsableCommand {
  static var page: CommandPage { get }
}

extension DocumentedCommand {
  static var configuration: CommandConfiguration { page.configuration }
}
