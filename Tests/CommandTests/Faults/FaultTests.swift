import Formats
import Foundation
import TestSupport
import Testing

/// Disks that fill up or fail, and processes that are killed. The output is either the old file or
/// the new one, and nothing else stays behind for long.
@Suite struct FaultTests {
  static let writers = ["pth", "npz", "safetensors", "condi"]

  /// Returns the path of a checkpoint that every writer writes with few calls of each kind: an
  /// integer, a bias, and a weight under two names.
  private static func source() throws -> String {
    try SharedMaterial.folder("four-tensors") { folder in
      let whole = try FormatRegistry.standard.open(PackageFolder.fixture("torch/state_dict.pth"))
      let names = ["0.index", "0.qkv.weight", "0.conv.bias", "1.qkv.weight"]
      let archive = TensorArchive(tensors: whole.tensors.filter { names.contains($0.key) })
      try #require(archive.tensors.count == names.count)
      try FormatRegistry.standard.write(
        archive, as: PyTorchFormat(), to: folder.appending("source.pth"))
    }.appending("source.pth")
  }

  private func bytes(_ path: String) -> Data? { FileManager.default.contents(atPath: path) }

  private func leftovers(_ folder: TemporaryFolder) throws -> [String] {
    try folder.names().filter { $0.hasSuffix(".condi-tmp") || $0.contains(".condi-tmp.") }
  }

  private func arguments(_ output: String) throws -> [String] {
    let packing = output.hasSuffix(".condi") ? ["--recipe", "all-linear", "--format", "csv"] : []
    return ["convert", try Self.source(), output, "--quiet", "--force"] + packing
  }

  /// Calls `body` with a program, a folder, an output path and the bytes that a faultless run
  /// writes.
  private func withOutput(
    _ suffix: String, _ body: (FaultyProgram, TemporaryFolder, String, Data) throws -> Void
  ) throws {
    let program = try FaultyProgram()
    try withTemporaryFolder { folder in
      let output = folder.appending("out.\(suffix)")
      let outcome = try BuiltProgram().run(try arguments(output))
      #expect(outcome.exitCode == 0, "\(outcome.standardError)")
      try body(program, folder, output, try #require(bytes(output)))
    }
  }

  @Test(arguments: writers)
  func fullDiskLeavesOldFile(_ suffix: String) throws {
    try withOutput(suffix) { program, folder, output, _ in
      let old = Data("old".utf8)
      try old.write(to: URL(filePath: output))
      // The last call unlinks a temporary file that has been renamed away.
      let calls = FaultyProgram.writing.filter { $0 != "unlink" }
      var index = 1
      while true {
        let outcome = try program.run(try arguments(output), .noSpace, at: index, of: calls)
        if outcome.exitCode == 0 { break }
        #expect(outcome.exitCode == 2, "call \(index)")
        let lines = outcome.standardError.split(separator: "\n")
        #expect(
          lines.count == 1 && lines[0].hasPrefix("condi-convert: \(output): ")
            && lines[0].hasSuffix("No space left on device"), "call \(index): \(lines)")
        #expect(bytes(output) == old, "call \(index)")
        #expect(try folder.names() == ["out.\(suffix)"], "call \(index)")
        index += 1
      }
      #expect(index > 3, "there are at least a write, a flush and a renaming")
    }
  }

  @Test(arguments: writers, [FaultyProgram.Fault.kill, .half])
  func killedWriterLeavesOldOrNewFile(_ suffix: String, fault: FaultyProgram.Fault) throws {
    try withOutput(suffix) { program, folder, output, new in
      let old = Data("old".utf8)
      try old.write(to: URL(filePath: output))
      let calls = fault == .half ? ["pwrite"] : FaultyProgram.writing
      var index = 1
      var leftoverCount = 0
      while true {
        let outcome = try program.run(try arguments(output), fault, at: index, of: calls)
        if outcome.exitCode == 0 { break }
        #expect(outcome.exitCode == -9, "call \(index): \(outcome.standardError)")
        let found = try #require(bytes(output))
        #expect(found == old || found == new, "call \(index)")
        if found == new { try old.write(to: URL(filePath: output)) }
        // Each run removes the leftovers of the previous one.
        let count = try leftovers(folder).count
        #expect(count <= 1, "call \(index)")
        leftoverCount += count
        index += 1
      }
      #expect(leftoverCount > 0, "without a leftover nothing was tried")
      #expect(bytes(output) == new)
      #expect(try folder.names() == ["out.\(suffix)"])
    }
  }

  /// The example takes hundreds of calls, during some of which other threads are working.
  @Test(arguments: writers)
  func writerKilledMidwayLeavesOldFile(_ suffix: String) throws {
    try withTemporaryFolder { folder in
      let program = try FaultyProgram()
      let output = folder.appending("out.\(suffix)")
      let arguments = ["convert", CommandLine.checkpoint, output, "--quiet", "--force"]
      let old = Data("old".utf8)
      try old.write(to: URL(filePath: output))
      for index in [2, 30, 150, 300] {
        let outcome = try program.run(arguments, .kill, at: index)
        #expect(outcome.exitCode == -9, "call \(index)")
        #expect(bytes(output) == old, "call \(index)")
        #expect(try leftovers(folder).count == 1, "call \(index)")
      }
      try CommandLine.succeedAll(arguments)
      #expect(try folder.names() == ["out.\(suffix)"])
    }
  }

  @Test(arguments: [SIGINT, SIGTERM, SIGHUP, SIGQUIT])
  func interruptedWriterCleansUp(_ signal: Int32) throws {
    for suffix in Self.writers {
      try withOutput(suffix) { program, folder, output, new in
        let result = try program.run(
          try arguments(output), pausedAt: 1, of: ["fsync"]
        ) { (process: Process) throws in
          #expect(try leftovers(folder).count == 1)
          kill(process.processIdentifier, signal)
          process.waitUntilExit()
        }
        #expect(result.exitCode == -signal)
        #expect(bytes(output) == new)
        #expect(try folder.names() == ["out.\(suffix)"])
      }
    }
  }

  /// `fullDiskLeavesOldFile` and `ResumeTests` check the other writers.
  @Test(arguments: ["onnx", "onnx-matmulnbits", "gguf", "safetensors"])
  func exportReservesSpaceBeforeWriting(_ target: String) throws {
    let program = try FaultyProgram()
    let packed = try PackageFolder.fixture("export/sample.condi")
    try withTemporaryFolder { folder in
      let output = folder.appending("out.bin")
      let arguments = [
        "export", packed, output, "--to", target, "--pad", "--dequantize", "--force",
      ]
      #expect(try BuiltProgram().run(arguments).exitCode == 0)
      let whole = try #require(bytes(output))
      let outcome = try program.run(arguments, .noSpace, at: 1, of: ["fallocate"])
      #expect(outcome.exitCode == 2)
      #expect(
        outcome.standardError
          == "condi-convert: \(output): cannot reserve \(whole.count) bytes: No space left on "
          + "device\n")
      #expect(bytes(output) == whole)
      #expect(try folder.names() == ["out.bin"])
    }
  }

  /// The writer does not fall back to another way: glibc's would write to every block, beneath
  /// other jobs' bytes.
  @Test(arguments: ["condi", "npz"])
  func fileSystemWithoutFallocateIsAccepted(_ suffix: String) throws {
    try withOutput(suffix) { program, folder, output, new in
      let outcome = try program.run(
        try arguments(output), .notSupported, at: 1, of: ["fallocate"])
      #expect(outcome.exitCode == 0, "\(outcome.standardError)")
      #expect(bytes(output) == new)
      #expect(try folder.names() == ["out.\(suffix)"])
    }
  }

  /// Only temporary files that no process is writing any more are removed.
  @Test func liveWriterKeepsItsTemporaryFile() throws {
    try withOutput("npz") { program, folder, output, new in
      let result = try program.run(
        try arguments(output), pausedAt: 1, of: ["fsync"]
      ) { (_: Process) throws in
        let other = try BuiltProgram().run(try arguments(folder.appending("other.npz")))
        #expect(other.exitCode == 0)
        #expect(try leftovers(folder).count == 1)
      }
      #expect(result.exitCode == 0, "\(result.standardError)")
      #expect(bytes(output) == new)
      #expect(try folder.names() == ["other.npz", "out.npz"])
    }
  }

  @Test func readErrorIsReportedInOneLine() throws {
    try withOutput("safetensors") { program, folder, output, new in
      let arguments = try arguments(output) + ["--no-mmap"]
      let callCount = try program.count(of: ["pread"], by: arguments)
      // A format probe that cannot read the file counts as not recognizing it.
      var failureCount = 0
      for index in 1...callCount {
        let outcome = try program.run(arguments, .readError, at: index, of: ["pread"])
        #expect(bytes(output) == new)
        #expect(try folder.names() == ["out.safetensors"])
        guard outcome.exitCode != 0 else { continue }
        failureCount += 1
        #expect(outcome.exitCode == 2)
        let lines = outcome.standardError.split(separator: "\n")
        #expect(
          lines.count == 1 && lines[0].contains(".pth: "), "call \(index): \(lines)")
      }
      #expect(failureCount > 5, "each tensor is read")
    }
  }

  // MARK: Inputs that change

  private func withShrinkingInput(
    at index: Int, of calls: [String], _ arguments: (String, String) -> [String],
    change: (String) throws -> Void
  ) throws -> (exitCode: Int32, standardError: String, names: [String]) {
    let program = try FaultyProgram()
    return try withTemporaryFolder { folder in
      let input = folder.appending("in.pth")
      try FileManager.default.copyItem(atPath: CommandLine.checkpoint, toPath: input)
      let result = try program.run(
        arguments(input, folder.appending("out.safetensors")), pausedAt: index, of: calls
      ) { _ in try change(input) }
      return (result.exitCode, result.standardError, try folder.names())
    }
  }

  /// No check is possible between requesting bytes and touching them, so this raises SIGBUS.
  @Test(arguments: ["convert", "inspect"])
  func inputTruncatedDuringChecksumIsAnError(_ command: String) throws {
    let result = try withShrinkingInput(at: 40, of: ["crc32"]) { input, output in
      command == "convert" ? ["convert", input, output, "--quiet"] : ["inspect", input]
    } change: {
      #expect(truncate($0, 4096) == 0)
    }
    #expect(result.exitCode == 2, "\(result.standardError)")
    let lines = result.standardError.split(separator: "\n")
    #expect(lines.count == 1 && lines[0].contains("in.pth: "), "\(lines)")
    #expect(
      lines.allSatisfy {
        $0.contains("vanished while it was being read") || $0.contains("another program")
      },
      "\(lines)")
    #expect(result.names == ["in.pth"])
  }

  /// Records that may have been made from zeros are not journaled as done.
  @Test func truncatedInputIsNotJournaledAsDone() throws {
    let program = try FaultyProgram()
    try withTemporaryFolder { folder in
      let model = try LargeCheckpoint(in: folder, layers: 8)
      let output = folder.appending("out.safetensors")
      let arguments = ["convert", model.folder, output, "--journal", "--threads", "1", "--quiet"]
      let result = try program.run(arguments, pausedAt: 5, of: ["crc32"]) { _ in
        for shard in model.shards { #expect(truncate(shard, 4096) == 0) }
      }
      #expect(result.exitCode == 2)
      #expect(result.standardError.contains("vanished while it was being read"))
      let journal = try String(contentsOfFile: "\(output).journal", encoding: .utf8)
      #expect(journal.split(separator: "\n").count == 1 + 4, "the plan, and a line a record")
    }
  }

  @Test(arguments: [[], ["--no-mmap"]])
  func inputTruncatedBetweenReadsIsAnError(_ options: [String]) throws {
    let result = try withShrinkingInput(at: 3, of: ["pwrite"]) { input, output in
      ["convert", input, output, "--quiet"] + options
    } change: {
      #expect(truncate($0, 4096) == 0)
    }
    #expect(result.exitCode == 2)
    let lines = result.standardError.split(separator: "\n")
    #expect(lines.count == 1, "\(lines)")
    #expect(result.names == ["in.pth"])
  }

  @Test func inputChangedDuringReadIsAnError() throws {
    let result = try withShrinkingInput(at: 3, of: ["pwrite"]) { input, output in
      ["convert", input, output, "--quiet"]
    } change: { path in
      let file = try FileHandle(forUpdating: URL(filePath: path))
      try file.seek(toOffset: 4_000_000)
      try file.write(contentsOf: Data([1]))
    }
    #expect(result.exitCode == 2)
    #expect(
      result.standardError.hasSuffix(
        ": another program changed the file while it was being read\n"),
      "\(result.standardError)")
    #expect(result.names == ["in.pth"])
  }
}
