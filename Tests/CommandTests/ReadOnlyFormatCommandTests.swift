import Foundation
import TestSupport
import Testing

/// Formats that are only read, as a user meets them.
@Suite struct ReadOnlyFormatCommandTests {
  @Test func aShardedCheckpointIsConvertedInspectedAndCompared() throws {
    try withTemporaryFolder { folder in
      let shards = try PackageFolder.fixture("sharded/torch")
      let whole = folder.appending("whole.safetensors")
      try CommandLine.succeed("convert", shards, whole)
      try CommandLine.succeed("diff", shards, whole)
      let report = try CommandLine.json(
        CommandLine.succeed("inspect", shards, "--format", "json"))
      let names = try FileManager.default.contentsOfDirectory(atPath: shards)
      let byteCount = try names.reduce(0) { sum, name in
        sum + (try Data(contentsOf: URL(filePath: "\(shards)/\(name)"))).count
      }
      #expect(report["fileByteCount"] as? Int == byteCount)
      #expect(report["format"] as? String == "sharded")
    }
  }

  @Test func remarksGoToStandardErrorAndDoNotFail() throws {
    let model = try PackageFolder.fixture("onnx/nodes.onnx")
    let outcome = try CommandLine.succeed("inspect", model)
    #expect(
      outcome.standardError
        == "condi-convert: \(model): only the initializers are read, not the graph of 1 nodes and "
        + "the 1 tensors in their attributes\n")
    #expect(try CommandLine.succeed("inspect", model, "--quiet").standardError == "")
  }

  @Test func tensorsThatCannotBeReadAreListed() throws {
    let model = try PackageFolder.fixture("gguf/unreadable_q6_k.gguf")
    let outcome = try CommandLine.succeed("inspect", model, "--format", "csv")
    #expect(outcome.standardOutput.contains("elements of type Q6_K cannot be read"))
    try withTemporaryFolder { folder in
      let conversion = try CommandLine.run("convert", model, folder.appending("out.npz"))
      #expect(conversion.exitCode == 2)
      #expect(
        conversion.standardError.contains("'weight': elements of type Q6_K cannot be read\n"))
      #expect(try folder.names() == [])
    }
  }

  @Test func theyAreNoOutputs() throws {
    let outcome = try CommandLine.run("convert", "a.pth", "b.npz", "--to", "gguf")
    #expect(outcome.exitCode == 64)
    #expect(
      outcome.standardError.contains(
        "GGUF is read, never written; --to takes one of: condi, safetensors, pytorch, npz, npy"))
    #expect(try CommandLine.run("convert", "a.pth", "b.onnx").exitCode == 64)
  }

  /// The packed file's digest is that of the index and its shards.
  @Test func packingNamesEveryFileOfTheSource() throws {
    try withTemporaryFolder { folder in
      let shards = try PackageFolder.fixture("safetensors/sharded")
      let packed = folder.appending("model.condi")
      try CommandLine.succeed("convert", shards, packed, "--quiet")
      let header = try CommandLine.succeed("inspect", packed, "--raw-header").standardOutput
      #expect(
        header.contains(
          "\"sha256\":\"43d45711c46b945276df12e536c9ca27c82a09a706df945bc4840f2ad16d0bfc\""))
      #expect(header.contains("\"format\":\"sharded\""))
    }
  }
}
