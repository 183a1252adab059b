import Formats
import Foundation
import Storage
import TestSupport
import Testing

/// The main workflow on the checkpoint that the repository ships.
@Suite struct MainJobTests {
  @Test func packingReachesPaperRatio() throws {
    try withTemporaryFolder { folder in
      let packed = folder.appending("model.condi")
      let outcome = try CommandLine.succeed(
        "convert", CommandLine.checkpoint, packed, "--bits", "2", "--format", "json")
      let report = try CommandLine.json(outcome)
      let summary = try #require(report["summary"] as? [String: Any])
      #expect(report["root"] as? String == "params")
      #expect(summary["quantizedTensorCount"] as? Int == 96)
      #expect(summary["quantizedElementCount"] as? Int == 691_200)
      let ratios = try #require(summary["ratios"] as? [String: Double])
      // (910,152 − 32,400) · 32 / (691,200 · 2 + 186,552 · 32)
      #expect(abs((ratios["paper"] ?? 0) - 3.8204) < 1e-4)
      #expect(abs((ratios["parameters"] ?? 0) - 3.4717) < 1e-3)
      #expect(try #require(summary["fileToPayload"] as? Double) <= 1.01)
      #expect(outcome.standardError.contains("taking the 354 tensors below 'params'"))
      #expect(try folder.names() == ["model.condi"])
    }
  }

  @Test func packingDoesNotDependOnThreads() throws {
    try CommandLine.withPackedExample { folder, packed in
      let other = folder.appending("other.condi")
      try CommandLine.succeed(
        "convert", CommandLine.checkpoint, other, "--bits", "2", "--threads", "1", "--quiet")
      #expect(
        try Data(contentsOf: URL(filePath: packed)) == Data(contentsOf: URL(filePath: other)))
    }
  }

  @Test func inspectFindsWorstLayer() throws {
    let outcome = try CommandLine.succeed(
      "inspect", CommandLine.checkpoint, "--sort", "condition", "--split-qkv", "--format", "json")
    let report = try CommandLine.json(outcome)
    let layers = try #require(report["layers"] as? [[String: Any]])
    let worst = try #require(layers.first)
    #expect(worst["name"] as? String == "params.layers.0.residual_group.blocks.5.attn.qkv.weight")
    #expect(worst["part"] as? String == "q")
    // numpy.linalg.cond of the same rows in double precision.
    let condition = try #require(worst["conditionNumber"] as? Double)
    #expect(abs(condition / 143_217 - 1) < 1e-3)
  }

  @Test func diffReportsOnlyQuantizedWeights() throws {
    try CommandLine.withPackedExample { _, packed in
      let outcome = try CommandLine.run(
        "diff", CommandLine.checkpoint, packed, "--format", "json")
      #expect(outcome.exitCode == 1)
      let report = try CommandLine.json(outcome)
      #expect((report["same"] as? [Any])?.count == 258)
      #expect((report["changed"] as? [Any])?.count == 96)
      #expect((report["onlyInA"] as? [Any])?.isEmpty == true)
      let same = try CommandLine.run("diff", packed, packed)
      #expect(same.exitCode == 0)
    }
  }

  @Test func verifyChecksRatiosAndNoise() throws {
    try CommandLine.withPackedExample { _, packed in
      let reference = CommandLine.checkpoint
      try CommandLine.succeed(
        "verify", packed, "--reference", reference, "--min-ratio", "paper=3.8", "--min-sqnr", "6",
        "--max-bytes", "1.06MB")
      let failing = [
        ["--min-ratio", "paper=3.9"], ["--min-ratio", "3.9"], ["--min-ratio", "file=5"],
        ["--max-bytes", "1000"], ["--max-bytes", "900KiB"],
        ["--reference", reference, "--min-sqnr", "9"],
      ]
      for gate in failing {
        let outcome = try BuiltProgram().run(["verify", packed] + gate)
        #expect(outcome.exitCode == 1, "\(gate)")
        #expect(outcome.standardOutput.contains("FAILED"))
      }
    }
  }

  @Test func verifyReportsDifferentReference() throws {
    try CommandLine.withPackedExample { folder, packed in
      var archive = try FormatRegistry.standard.open(CommandLine.checkpoint)
      let name = "params.norm.bias"
      let tensor = try #require(archive.tensors[name])
      var bytes = try tensor.bytes().array
      bytes[2] ^= 1
      archive.tensors[name] = try Tensor(
        elementType: tensor.elementType, shape: tensor.shape, bytes: SharedBytes(bytes))
      let other = folder.appending("other.pth")
      try FormatRegistry.standard.write(archive, as: PyTorchFormat(), to: other)
      let outcome = try CommandLine.run("verify", packed, "--reference", other)
      #expect(outcome.exitCode == 1)
      #expect(outcome.standardOutput.contains("norm.bias"))
    }
  }

  @Test(arguments: ["pth", "npz", "safetensors"])
  func unpackedFileEqualsPackedFile(_ suffix: String) throws {
    try CommandLine.withPackedExample { folder, packed in
      let unpacked = folder.appending("unpacked.\(suffix)")
      try CommandLine.succeed("unpack", packed, unpacked, "--quiet")
      let outcome = try CommandLine.run("diff", packed, unpacked)
      #expect(outcome.exitCode == 0, "\(outcome.standardOutput)")
    }
  }

  @Test func formatConversionsRoundTripBitForBit() throws {
    try withTemporaryFolder { folder in
      var previous = CommandLine.checkpoint
      for name in ["a.safetensors", "b.npz", "c.pth"] {
        let next = folder.appending(name)
        try CommandLine.succeed("convert", previous, next, "--quiet")
        let outcome = try CommandLine.run("diff", CommandLine.checkpoint, next)
        #expect(outcome.exitCode == 0, "\(outcome.standardOutput)")
        previous = next
      }
    }
  }
}
