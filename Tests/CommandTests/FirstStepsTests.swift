import Formats
import Foundation
import TestSupport
import Testing

@testable import condi_convert

/// What the program says to users who do not know it yet.
@Suite struct FirstStepsTests {
  @Test func withoutArgumentsItNamesThreeCommands() throws {
    let outcome = try CommandLine.run()
    #expect(outcome.exitCode == 0)
    #expect(outcome.standardError.isEmpty)
    let commands = outcome.standardOutput.split(separator: "\n")
      .filter { $0.hasPrefix("  condi-convert ") }.map { String($0.dropFirst(16)) }
    #expect(commands.count == 3)
    // What it advises works.
    try withTemporaryFolder { folder in
      let model = folder.appending("model.pth")
      try CommandLine.copy(CommandLine.checkpoint, to: model) { _ in }
      for command in commands {
        let words = command.split(separator: " ").map(String.init)
        let outcome = try BuiltProgram().run(words, in: folder.appending(""))
        #expect(outcome.exitCode == 0, "\(command): \(outcome.standardError)")
      }
    }
  }

  @Test func aFileInPlaceOfACommandGetsSuggestions() throws {
    try CommandLine.withPackedExample { folder, packed in
      let odd = folder.appending("my model's.pth")
      try CommandLine.copy(CommandLine.checkpoint, to: odd) { _ in }
      let first = try CommandLine.run(odd)
      #expect(first.exitCode == 64)
      #expect(first.standardOutput.isEmpty)
      let quoted = odd.replacing("'", with: "'\\''")
      #expect(
        first.standardError == """
          condi-convert: a command is missing before '\(odd)'; for example:
            condi-convert inspect '\(quoted)'
            condi-convert convert '\(quoted)' 'my model'\\''s.condi' --bits 4

          """)
      let second = try CommandLine.run(packed, "--limit", "3")
      #expect(second.exitCode == 64)
      #expect(second.standardError.contains("\n  condi-convert verify \(packed)\n"))
      #expect(
        second.standardError.hasSuffix("\n  condi-convert unpack \(packed) model.safetensors\n"))
    }
  }

  @Test(arguments: [
    ("inspct", "inspect"), ("covnert", "convert"), ("Verify", "verify"), ("upscal", "upscale"),
    ("gitdiff", "git-diff"), ("hepl", "help"),
  ])
  func misspeltCommandsAreRecognized(_ word: String, _ command: String) throws {
    let outcome = try CommandLine.run(word, "a.pth")
    #expect(outcome.exitCode == 64)
    #expect(
      outcome.standardError.hasPrefix(
        "condi-convert: there is no command '\(word)'; is it '\(command)'?\nUsage:"))
  }

  @Test(arguments: [
    ("", "", 0), ("abc", "", 3), ("", "abc", 3), ("kitten", "sitting", 3), ("ab", "ba", 1),
    ("ca", "abc", 3),
  ])
  func distancesAreThoseOfOptimalStringAlignment(_ a: String, _ b: String, _ distance: Int) {
    #expect(FirstSteps.distance(a, b) == distance)
  }

  @Test func theVersionNamesEveryLibrary() throws {
    let outcome = try CommandLine.succeed("--version")
    let lines = outcome.standardOutput.split(separator: "\n")
    #expect(lines.first == "condi-convert \(Producer.version)")
    let names = [
      "libzip", "json-c", "zlib", "libdeflate", "OpenSSL", "OpenBLAS", "libpng", "libjpeg-turbo",
    ]
    #expect(lines.dropFirst().map { String($0.prefix { $0 != " " }) } == names)
    for line in lines.dropFirst() {
      let version = line.split(separator: " ")[1]
      #expect(version.contains(/^[0-9]+\.[0-9]+/), "\(line)")
    }
  }
}
