import Formats
import Foundation
import TestSupport
import Testing

/// Read-only formats as a user encounters them.
@Suite struct ReadOnlyFormatCommandTests {
  @Test func shardedCheckpointIsConvertedInspectedAndCompared() throws {
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

  @Test func shardsAreWrittenWithIndex() throws {
    try withTemporaryFolder { folder in
      let model = folder.appending("model.safetensors")
      let arguments = ["convert", CommandLine.checkpoint, model, "--max-shard-size", "1MB"]
      let outcome = try BuiltProgram().run(arguments)
      #expect(outcome.exitCode == 0)
      #expect(outcome.standardError.contains(" files beside it"), "\(outcome.standardError)")
      let names = try folder.names()
      #expect(names.count > 3)
      #expect(names.last == "model.safetensors.index.json")
      let difference = try CommandLine.run("diff", CommandLine.checkpoint, folder.path)
      #expect(difference.exitCode == 0, "\(difference.standardOutput)")
      // Nothing is replaced without being asked.
      let refused = try BuiltProgram().run(arguments)
      #expect(refused.exitCode == 2)
      #expect(try folder.names() == names)
    }
    let other = try CommandLine.run(
      "convert", CommandLine.checkpoint, "x.npz", "--max-shard-size", "1MB")
    #expect(other.exitCode == 64)
    #expect(other.standardError.hasPrefix("Error: --max-shard-size is for safetensors\n"))
  }

  @Test func readerNotesGoToStandardErrorWithoutFailing() throws {
    let model = try PackageFolder.fixture("onnx/nodes.onnx")
    let outcome = try CommandLine.succeed("inspect", model)
    #expect(
      outcome.standardError
        == "condi-convert: \(model): only the tensors are read, not the graph of 1 node\n")
    #expect(try CommandLine.succeed("inspect", model, "--quiet").standardError == "")
  }

  @Test func unreadableTensorsAreListed() throws {
    let model = try PackageFolder.fixture("gguf/unreadable_q8_k.gguf")
    let outcome = try CommandLine.succeed("inspect", model, "--format", "csv")
    #expect(outcome.standardOutput.contains("elements of type Q8_K cannot be read"))
    try withTemporaryFolder { folder in
      let conversion = try CommandLine.run("convert", model, folder.appending("out.npz"))
      #expect(conversion.exitCode == 2)
      #expect(
        conversion.standardError.contains("tensor 'weight': elements of type Q8_K cannot be read\n")
      )
      #expect(try folder.names() == [])
    }
  }

  /// Equal bytes compare equal, whatever they encode.
  @Test(arguments: [
    "gguf/unreadable_q8_k.gguf", "onnx/unreadable_string.onnx",
  ])
  func unreadableTensorsAreComparedByBytes(fixture: String) throws {
    let model = try PackageFolder.fixture(fixture)
    try CommandLine.succeed("diff", model, model)
    try withTemporaryFolder { folder in
      let changed = folder.appending("changed")
      let needle = Data(fixture.contains("string") ? Array("b".utf8) : [0x10])
      try CommandLine.copy(model, to: changed) { bytes in
        let place = bytes.range(of: needle)?.lowerBound ?? bytes.count - 1
        // The end may be padding of less than 32 bytes.
        bytes[fixture.hasPrefix("gguf") ? bytes.count - 40 : place] ^= 1
      }
      let outcome = try CommandLine.run("diff", model, changed, "--format", "json")
      // The files differ, whatever the flipped bit belongs to.
      #expect(outcome.exitCode != 0, "\(outcome.standardOutput)\(outcome.standardError)")
    }
  }

  /// Odd entries beside weights are reported and do not prevent anything else.
  @Test(arguments: [
    ("npz/odd_entries.npz", 7, 2), ("npz/methods.npz", 2, 1), ("torch/dtensors.pth", 2, 4),
    ("zipped/agent.zip", 2, 2), ("torch/parameter_attributes.pth", 1, 3),
  ])
  func unreadableEntriesAreListed(name: String, unreadCount: Int, tensorCount: Int) throws {
    let model = try PackageFolder.fixture(name)
    try withTemporaryFolder { folder in
      let output = folder.appending("out.safetensors")
      let outcome = try CommandLine.succeed("convert", model, output)
      let lines = outcome.standardError.split(separator: "\n")
      #expect(lines.count { $0.contains("\(model): left out '") } == unreadCount)
      #expect(
        outcome.standardError.hasSuffix(
          "wrote \(tensorCount == 1 ? "1 tensor" : "\(tensorCount) tensors") to \(output) as "
            + "safetensors\n"))
      let copy = try FormatRegistry.standard.open(output)
      #expect(copy.tensors.count == tensorCount)
    }
    for options in [["--tree"], []] {
      let report = try CommandLine.json(
        BuiltProgram().run(["inspect", model, "--format", "json", "--quiet"] + options))
      #expect((report["unread"] as? [Any])?.count == unreadCount)
    }
  }

  @Test func fileWithoutReadableTensorsIsNotConverted() throws {
    let model = try PackageFolder.fixture("torch/meta_tensor.pth")
    try withTemporaryFolder { folder in
      let outcome = try CommandLine.run("convert", model, folder.appending("out.npz"), "--quiet")
      #expect(outcome.exitCode == 2)
      #expect(
        outcome.standardError
          == "condi-convert: \(model): no tensor can be read: 'm' (torch.Tensor): it has no data "
          + "(device 'meta'); load the weights into the model before saving it\n")
      #expect(try folder.names() == [])
    }
  }

  @Test func voidTypeOptionNamesRawElementTypes() throws {
    let model = try PackageFolder.fixture("npz/ml_dtypes.npz")
    try withTemporaryFolder { folder in
      let output = folder.appending("out.safetensors")
      let refused = try CommandLine.run("convert", model, output, "--void-type", "bfloat16")
      #expect(refused.exitCode == 2)
      #expect(refused.standardError.contains("tensor 'f': NumPy did not keep the type"))
      #expect(refused.standardError.contains("--void-type"))
      try CommandLine.succeed(
        "convert", model, output, "--void-type", "bfloat16", "--void-type", "float8_e4m3fn")
      let archive = try FormatRegistry.standard.open(output)
      #expect(try archive.tensors["b"]?.floatValues() == [0, 1, 2])
      #expect(try archive.tensors["f"]?.floatValues() == [0, 1, 2])
    }
    for wrong in [["float32"], ["bfloat16", "--void-type", "bfloat16"]] {
      let outcome = try BuiltProgram().run(["inspect", model, "--void-type"] + wrong)
      #expect(outcome.exitCode == 64)
    }
  }

  @Test func readOnlyFormatsAreRefusedAsOutputs() throws {
    let outcome = try CommandLine.run("convert", "a.pth", "b.npz", "--to", "gguf")
    #expect(outcome.exitCode == 64)
    #expect(
      outcome.standardError.contains(
        "GGUF can be read but not written; --to takes one of: condi, safetensors, pytorch, npz, "
          + "npy"))
    #expect(try CommandLine.run("convert", "a.pth", "b.onnx").exitCode == 64)
  }

  /// The packed file's source digest covers the index and its shards, and its content is that of
  /// the whole checkpoint packed.
  @Test func packedSourceDigestCoversIndexAndShards() throws {
    try withTemporaryFolder { folder in
      let nested = try FormatRegistry.standard.open(CommandLine.checkpoint)
      let checkpoint = try nested.conventionalRoot.map(nested.selecting) ?? nested
      let shards = folder.appending("shards")
      try FileManager.default.createDirectory(
        atPath: shards, withIntermediateDirectories: false)
      var map: [String: String] = [:]
      for number in 1...2 {
        var archive = TensorArchive()
        for (index, element) in checkpoint.tensors.enumerated() where index % 2 == number - 1 {
          archive.tensors[element.key] = element.value
          map[element.key] = "model-0000\(number)-of-00002.safetensors"
        }
        try FormatRegistry.standard.write(
          archive, as: SafetensorsFormat(),
          to: "\(shards)/model-0000\(number)-of-00002.safetensors")
      }
      try JSONSerialization.data(withJSONObject: ["weight_map": map], options: .sortedKeys).write(
        to: URL(filePath: "\(shards)/model.safetensors.index.json"))

      let packed = folder.appending("model.condi")
      try CommandLine.succeed("convert", shards, packed, "--bits", "2", "--quiet")
      let sums = try BuiltProgram(path: "/bin/sh").run(
        ["-c", "sha256sum model.safetensors.index.json model-* | sha256sum"], in: shards)
      let header = try CommandLine.succeed("inspect", packed, "--raw-header").standardOutput
      #expect(header.contains(sums.standardOutput.prefix(64)))
      #expect(header.contains("\"format\":\"sharded\""))

      try CommandLine.succeed("diff", packed, CommandLine.packedExample())
    }
  }
}
