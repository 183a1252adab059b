import Foundation
import TestSupport
import Testing

/// Standard input, output and error as pipes.
@Suite struct PipeTests {
  private func shell(
    _ script: String, _ arguments: [String] = [], environment: [String: String] = [:]
  ) throws -> BuiltProgram.Outcome {
    try BuiltProgram(path: "/bin/bash").run(
      ["-c", "set -o pipefail; tool=$1 model=$2; shift 2; " + script, "bash"]
        + [BuiltProgram().path, CommandLine.checkpoint] + arguments,
      environment: environment)
  }

  /// The report exceeds a pipe's capacity, so the reader has left before it is written.
  @Test func closedPipeEndsCommandSilently() throws {
    let whole = try CommandLine.succeed(
      "inspect", CommandLine.checkpoint, "--tree", "--format", "json")
    try #require(whole.standardOutput.utf8.count > 1 << 16)
    let outcome = try shell(#""$tool" inspect "$model" --tree --format json | head -n 1"#)
    #expect(outcome.exitCode == 141)
    #expect(outcome.standardError.isEmpty)
    #expect(outcome.standardOutput == "{\n")
  }

  /// Runs the program with a pipe as its output or error whose reader is gone from the start.
  private func run(_ arguments: [String], losing lost: Int32) throws -> Int32 {
    let process = Process()
    process.executableURL = URL(filePath: try BuiltProgram().path)
    process.arguments = arguments
    let pipe = Pipe()
    try pipe.fileHandleForReading.close()
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = lost == STDOUT_FILENO ? pipe : FileHandle.nullDevice as Any
    process.standardError = lost == STDERR_FILENO ? pipe : FileHandle.nullDevice as Any
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationReason == .exit)
    return process.terminationStatus
  }

  @Test func outputIsCompleteWhenNobodyReadsMessages() throws {
    try withTemporaryFolder { folder in
      let (lost, whole) = (folder.appending("lost.condi"), folder.appending("whole.condi"))
      try CommandLine.succeed("convert", CommandLine.checkpoint, whole, "--quiet")
      #expect(try run(["convert", CommandLine.checkpoint, lost], losing: STDERR_FILENO) == 0)
      #expect(
        try Data(contentsOf: URL(filePath: lost)) == Data(contentsOf: URL(filePath: whole)))
      #expect(
        try run(["convert", CommandLine.checkpoint, lost, "--force"], losing: STDOUT_FILENO) == 141)
      #expect(try folder.names() == ["lost.condi", "whole.condi"])
    }
  }

  @Test(arguments: [
    ["inspect", "FILE", "--layers", "*conv_first*"], ["inspect", "FILE", "--tree", "--depth", "2"],
    ["audit", "FILE"], ["diff", "FILE", "MODEL"],
  ])
  func pipedInputGivesSameReportAsFile(_ command: [String]) throws {
    try withTemporaryFolder { folder in
      func arguments(_ file: String) -> [String] {
        command.map { $0 == "FILE" ? file : $0 == "MODEL" ? CommandLine.checkpoint : $0 }
      }
      let named = try BuiltProgram().run(arguments(CommandLine.checkpoint) + ["--format", "json"])
      let environment = ["TMPDIR": folder.appending("")]
      let piped = try shell(
        #"cat "$model" | "$tool" "$@""#, arguments("-") + ["--format", "json"],
        environment: environment)
      #expect(piped.exitCode == named.exitCode, "\(piped.standardError)")
      #expect(!piped.standardOutput.contains("/proc/"))
      func withoutNames(_ outcome: BuiltProgram.Outcome) -> String {
        // The result of 'diff' also names the second file, which is a path in both runs.
        outcome.standardOutput.replacing("\"-\"", with: "NAME")
          .replacing("\"standard input\"", with: "NAME")
          .replacing("\"\(CommandLine.checkpoint.replacing("/", with: "\\/"))\"", with: "NAME")
          .replacing("\"\(CommandLine.checkpoint)\"", with: "NAME")
      }
      #expect(withoutNames(piped) == withoutNames(named))
      let redirected = try shell(
        #""$tool" "$@" <"$model""#, arguments("-") + ["--format", "json"],
        environment: environment)
      #expect(withoutNames(redirected) == withoutNames(named))
      #expect(try folder.names() == [])
    }
  }

  @Test func packingFromPipeWritesSameFile() throws {
    try CommandLine.withPackedExample { folder, packed in
      let piped = folder.appending("piped.condi")
      let outcome = try shell(
        #"cat "$model" | "$tool" convert - "$1" --bits 2 --quiet"#, [piped])
      #expect(outcome.exitCode == 0, "\(outcome.standardError)")
      #expect(
        try Data(contentsOf: URL(filePath: piped)) == Data(contentsOf: URL(filePath: packed)))
    }
  }

  @Test func exportFromPipeWritesSameFile() throws {
    try CommandLine.withPackedExample { folder, packed in
      let (named, piped) = (folder.appending("named.onnx"), folder.appending("piped.onnx"))
      try CommandLine.succeed("export", packed, named, "--size", "16x16")
      let outcome = try shell(
        #"cat "$1" | "$tool" export - "$2" --size 16x16"#, [packed, piped])
      #expect(outcome.exitCode == 0, "\(outcome.standardError)")
      #expect(try Data(contentsOf: URL(filePath: piped)) == Data(contentsOf: URL(filePath: named)))
    }
  }

  @Test func errorsNameStandardInput() throws {
    let damaged = try shell(#"head -c 1000000 "$model" | "$tool" inspect -"#)
    #expect(damaged.exitCode == 2)
    #expect(damaged.standardError.hasPrefix("condi-convert: standard input: "))
    let full = try shell(
      #"cat "$model" | "$tool" inspect -"#, environment: ["TMPDIR": "/nowhere"])
    #expect(full.exitCode == 2)
    #expect(
      full.standardError.hasPrefix(
        "condi-convert: standard input: cannot keep it in /nowhere: No such file or directory"))
  }

  @Test func standardOutputIsRefusedAsOutput() throws {
    for command in ["convert", "unpack"] {
      let outcome = try CommandLine.run(command, CommandLine.checkpoint, "-", "--to", "npz")
      #expect(outcome.exitCode == 64)
      #expect(
        outcome.standardError.hasPrefix(
          "Error: the output must be a file, which appears whole or not at all, not '-'"))
    }
  }

  /// Commands that other tests do not interrupt.
  @Test(arguments: [
    (["upscale", "bicubic", "IMAGE", "OUT.png", "--scale", "2"], "fsync"),
    // After the first of three rows of tiles.
    (["upscale", "MODEL", "IMAGE", "OUT.png", "--tile", "16", "--quiet"], "pwrite"),
    (["unpack", "PACKED", "OUT.npz"], "fsync"),
    (
      [
        "inspect", "MODEL", "--layers", "*conv_first*", "--fail-if", "nan > 0", "--junit",
        "OUT.xml",
      ],
      "fsync"
    ),
  ])
  func interruptedCommandLeavesNoFiles(_ command: [String], at call: String) throws {
    try CommandLine.withPackedExample { tools, packed in
      let program = try FaultyProgram()
      try withTemporaryFolder { folder in
        let arguments = try command.map { word in
          switch word {
          case "IMAGE": try PackageFolder.fixture("images/metric_3.png")
          case "PACKED": packed
          case "MODEL": CommandLine.checkpoint
          case let word where word.hasPrefix("OUT"): folder.appending(word)
          default: word
          }
        }
        let result = try program.run(arguments, pausedAt: 1, of: [call]) {
          (process: Process) throws in
          #expect(try folder.names().count == 1)
          kill(process.processIdentifier, SIGINT)
          process.waitUntilExit()
        }
        #expect(result.exitCode == -SIGINT)
        #expect(result.standardError.isEmpty)
        #expect(try folder.names() == [])
      }
    }
  }
}
