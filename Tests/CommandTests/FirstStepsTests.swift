import Formats
import Foundation
import TestSupport
import Testing

/// Messages for first-time users.
@Suite struct FirstStepsTests {
  @Test func runWithoutArgumentsSuggestsThreeCommands() throws {
    let outcome = try CommandLine.run()
    #expect(outcome.exitCode == 0)
    #expect(outcome.standardError.isEmpty)
    let commands = outcome.standardOutput.split(separator: "\n")
      .filter { $0.hasPrefix("  condi-convert ") }.map { String($0.dropFirst(16)) }
    #expect(commands.count == 3)
    // The suggested commands work.
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

  @Test func fileInPlaceOfCommandGetsSuggestions() throws {
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

  /// Up to two letters that are wrong, extra, missing or swapped with their neighbours.
  @Test(arguments: [
    ("inspct", "inspect"), ("covnert", "convert"), ("Verify", "verify"), ("upscal", "upscale"),
    ("gitdiff", "git-diff"), ("hepl", "help"), ("nispcet", "inspect"), ("fiff", "diff"),
    ("exxportt", "export"), ("ru", "run"), ("repaor-", "repair"),
  ])
  func misspeltCommandsAreRecognized(_ word: String, _ command: String) throws {
    let outcome = try CommandLine.run(word, "a.pth")
    #expect(outcome.exitCode == 64)
    #expect(
      outcome.standardError.hasPrefix(
        "condi-convert: there is no command '\(word)'; is it '\(command)'?\nUsage:"))
  }

  /// Three wrong letters are too many. Optimal string alignment inserts nothing between two swapped
  /// letters, so 'adxuit' is three steps from 'audit'.
  @Test(arguments: ["adxuit", "nspetcc", "xyzrun", "compress", "f"])
  func unknownWordsGetNoSuggestion(_ word: String) throws {
    let outcome = try CommandLine.run(word, "a.pth")
    #expect(outcome.exitCode == 64)
    #expect(!outcome.standardError.contains("there is no command"), "\(outcome.standardError)")
  }

  @Test func onlyAvailableVectorLevelsAreAccepted() throws {
    func version(_ level: String) throws -> BuiltProgram.Outcome {
      try BuiltProgram().run(["--version"], environment: [VectorLevel.variable: level])
    }
    for level in VectorLevel.available {
      #expect(try version(level).standardOutput.hasSuffix("\nvector level \(level)\n"))
    }
    for level in ["", "avx", "256", "AVX2"] {
      let outcome = try version(level)
      #expect(outcome.exitCode == 2)
      #expect(outcome.standardOutput.isEmpty)
      #expect(
        outcome.standardError
          == "condi-convert: CONDI_VECTOR_LEVEL is '\(level)'; this processor supports "
          + "\(VectorLevel.available.joined(separator: ", "))\n")
    }
  }

  @Test func versionNamesEveryLibrary() throws {
    let outcome = try CommandLine.succeed("--version")
    var lines = outcome.standardOutput.split(separator: "\n")
    #expect(lines.popLast()?.hasPrefix("vector level ") == true)
    #expect(lines.first == "condi-convert \(Producer.version)")
    let names = [
      "libzip", "json-c", "zlib", "libdeflate", "OpenSSL", "OpenBLAS", "libpng", "libjpeg-turbo",
      "libwebp",
    ]
    #expect(lines.dropFirst().map { String($0.prefix { $0 != " " }) } == names)
    for line in lines.dropFirst() {
      let version = line.split(separator: " ")[1]
      #expect(version.contains(/^[0-9]+\.[0-9]+/), "\(line)")
    }
  }
}
