import Foundation
import TestSupport
import Testing

/// What commands say of themselves.
@Suite struct HelpTests {
  private static let commands = [
    "convert", "unpack", "export", "import", "merge", "inspect", "diff", "verify", "audit",
    "git-diff", "upscale", "evaluate", "calibrate", "condition", "quantize", "plan", "run",
    "finish", "repair",
  ]

  private func lines(_ arguments: String...) throws -> [Substring] {
    let outcome = try BuiltProgram().run(arguments)
    #expect(outcome.exitCode == 0, "\(outcome.standardError)")
    #expect(outcome.standardError.isEmpty)
    return outcome.standardOutput.split(separator: "\n", omittingEmptySubsequences: false)
  }

  @Test func allCommandsAreTested() throws {
    let help = try CommandLine.succeed("--help").standardOutput
    let listed = help.matches(of: /(?m)^  ([a-z][a-z-]*)(  +[A-Z].*)?$/).map { String($0.1) }
    #expect(listed == Self.commands)
    let short = try CommandLine.succeed("-h").standardOutput
    for command in listed { #expect(short.contains(" \(command)"), "\(command)") }
  }

  /// A terminal has 24 lines, of which the prompt takes one.
  @Test(arguments: [""] + commands) func shortHelpFitsAScreen(_ command: String) throws {
    let lines = try command.isEmpty ? lines("-h") : lines(command, "-h")
    #expect(lines.count <= 24, "\(lines.count)")
    for line in lines { #expect(line.count <= 80, "\(line)") }
    #expect(lines.contains { $0.hasPrefix("  ") && $0.contains("condi-convert \(command)") })
    #expect(lines.dropLast().last?.contains("--help'") == true)
  }

  /// The options that a command's source calls essential exist, and are shown.
  @Test(arguments: commands) func shortHelpShowsTheEssentials(_ command: String) throws {
    let folder = PackageFolder.root.appending(path: "Sources/condi-convert/Subcommands")
    let sources = try FileManager.default.contentsOfDirectory(atPath: folder.path).map {
      try String(contentsOf: folder.appending(path: $0), encoding: .utf8)
    }
    let source = try #require(sources.first { $0.contains("name: \"\(command)\",") })
    let list = try #require(source.firstMatch(of: /essentials: \[([^\]]*)\]/)).1
    let essentials = list.matches(of: /"(--[a-z-]+)"/).map { $0.1 }
    #expect(!essentials.isEmpty)
    let shown = try lines(command, "-h")
    for option in essentials {
      #expect(shown.contains { $0.hasPrefix("  ") && $0.contains(option) }, "\(option)")
    }
  }

  /// Examples come first, each in lines of its own.
  @Test(arguments: [""] + commands) func helpBeginsWithExamples(_ command: String) throws {
    let lines = try command.isEmpty ? lines("--help") : lines(command, "--help")
    let examples = try #require(lines.firstIndex(of: "EXAMPLES"))
    #expect(examples <= 4)
    let usage = try #require(lines.firstIndex { $0.hasPrefix("USAGE:") })
    #expect(examples < usage)
    for line in lines[(examples + 1)...].prefix(while: { !$0.isEmpty }) {
      #expect(line.hasPrefix("  ") && line.count <= 80, "\(line)")
    }
  }

  /// The manual explains every command, under the same sentence.
  @Test(arguments: commands) func aPageExplainsTheCommand(_ command: String) throws {
    let page = try String(
      contentsOf: PackageFolder.root.appending(
        path: "Documentation/condi-convert.docc/Commands/\(command).md"), encoding: .utf8)
    let abstract = page.split(separator: "\n")[1]
    let help = try CommandLine.succeed(command, "--help").standardOutput
    let words = help.split(separator: "\n\n")[0].split(whereSeparator: \.isWhitespace)
    #expect(page.hasPrefix("# \(command)\n"))
    #expect(words.joined(separator: " ") == "OVERVIEW: \(abstract)")
  }
}
