import Formats
import Foundation
import Storage
import TestSupport
import Testing

/// The Swift reader of packed files, compared bit by bit with the independent one in `python/`.
@Suite(Python.require("numpy")) struct SecondReaderTests {
  private struct Dumped: Decodable, Equatable {
    var elementType: String
    var shape: [Int]
    var crc32: UInt32
  }

  private func python(_ command: String, _ path: String) throws -> BuiltProgram.Outcome {
    try Python.run(["-m", "condi", command, path], environment: ["PYTHONPATH": "python"])
  }

  @Test(arguments: [
    ["--bits", "2"], ["--bits", "3", "--granularity", "channel"],
    ["--bits", "5", "--granularity", "group:32"],
    ["--bits", "5", "--granularity", "group:32", "--parameters", "float32"],
    ["--recipe", "keep-all"],
  ])
  func swiftAndPythonReadersAgree(_ options: [String]) throws {
    try withTemporaryFolder { folder in
      let packed = folder.appending("model.condi")
      let outcome = try BuiltProgram().run(
        ["convert", CommandLine.checkpoint, packed, "--quiet"] + options)
      #expect(outcome.exitCode == 0, "\(outcome.standardError)")

      let verified = try python("verify", packed)
      #expect(verified.exitCode == 0, "\(verified.standardError)")
      let dumped = try JSONDecoder().decode(
        [String: Dumped].self, from: Data(python("dump", packed).standardOutput.utf8))
      let archive = try FormatRegistry.standard.open(packed)
      #expect(Set(dumped.keys) == Set(archive.tensors.keys))
      for (name, tensor) in archive.tensors {
        let own = Dumped(
          elementType: tensor.elementType.rawValue, shape: tensor.shape.dimensions,
          crc32: CRC32.checksum(try tensor.bytes()))
        #expect(dumped[name] == own, "\(name)")
      }
    }
  }

  @Test func bothReadersRefuseDamagedFile() throws {
    try CommandLine.withPackedExample { folder, packed in
      let damaged = folder.appending("damaged.condi")
      for offset in [3, 45, 900_000] {
        try CommandLine.copy(packed, to: damaged) { $0[offset] ^= 4 }
        #expect(try python("verify", damaged).exitCode != 0)
        #expect(try CommandLine.run("verify", damaged).exitCode == 2)
      }
    }
  }
}
