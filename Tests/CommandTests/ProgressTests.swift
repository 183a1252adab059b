import Foundation
import TestSupport
import Testing

@Suite struct ProgressTests {
  /// Progress appears only on a terminal, which `script` provides; the line is gone at the end.
  @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/script")))
  func progressIsShownOnlyOnTerminals() throws {
    try withTemporaryFolder { folder in
      let program = try BuiltProgram().path
      func command(_ output: String, _ options: String = "") -> String {
        "'\(program)' convert '\(CommandLine.checkpoint)' '\(folder.appending(output))' \(options)"
      }
      func terminal(_ command: String) throws -> String {
        let outcome = try BuiltProgram(path: "/usr/bin/script").run(
          ["--quiet", "--return", "--command", command, "/dev/null"])
        #expect(outcome.exitCode == 0)
        return outcome.standardOutput
      }
      let shown = try terminal(command("a.npz"))
      #expect(shown.contains("\r\u{1B}[Kconverting  "))
      #expect(shown.contains("\r\u{1B}[Kcondi-convert: wrote "))
      #expect(!shown.contains("\u{1B}[3"), "no colours")
      #expect(try terminal(command("b.npz", "--quiet")).isEmpty)
      let muted = try terminal(command("c.npz", "2>/dev/null"))
      #expect(!muted.contains("converting"))
      let piped = try BuiltProgram().run(
        ["convert", CommandLine.checkpoint, folder.appending("d.npz")])
      #expect(!piped.standardError.contains("converting"))
    }
  }
}
