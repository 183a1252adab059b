import Foundation
import TestSupport
import Testing

/// Commands on files whose weights are stored as several tensors.
@Suite struct LogicalCommandTests {
  private func fixture(_ name: String) throws -> String {
    try PackageFolder.fixture(
      "logical/\(name)/model.\(name == "torch" ? "pth" : "safetensors")")
  }

  private func layers(_ arguments: String...) throws -> [String: [String: Any]] {
    let outcome = try BuiltProgram().run(["inspect"] + arguments + ["--format", "json"])
    let list = try #require(try CommandLine.json(outcome)["layers"] as? [[String: Any]])
    return Dictionary(
      list.compactMap { layer in (layer["name"] as? String).map { ($0, layer) } }
    ) { $1 }
  }

  @Test(arguments: [("fp8", "blocks.weight"), ("torch", "kernel_1.weight"), ("awq", "fc.weight")])
  func inspectReportsFiguresOfAssembledWeight(_ name: String, _ tensor: String) throws {
    let stored = try #require(try layers(fixture(name))[tensor])
    let values = try #require(
      try layers(PackageFolder.fixture("logical/\(name)/values.safetensors"))[tensor])
    let (found, expected) = (stored["sigmaMax"] as? Double, values["sigmaMax"] as? Double)
    #expect(abs((found ?? 0) / (expected ?? 1) - 1) < 1e-6)
    #expect(stored["composition"] as? String != nil)
  }

  @Test func unassembledCodesHaveNoFigures() throws {
    let layers = try layers(fixture("fp8_128"))
    for name in ["open.weight", "open.weight_scale"] {
      let layer = try #require(layers[name])
      #expect(layer["sigmaMax"] == nil)
      #expect((layer["note"] as? String)?.contains("do not determine the block length") == true)
    }
    #expect(try self.layers(fixture("fp8_128"), "--stored")["open.weight"]?["sigmaMax"] != nil)
    #expect(try self.layers(fixture("fp8"), "--stored")["blocks.weight_scale_inv"] != nil)
  }

  @Test(arguments: ["fp8", "torch", "awq", "bitsandbytes", "microscaling", "compressed"])
  func diffComparesAssembledWeights(_ name: String) throws {
    let values = try PackageFolder.fixture("logical/\(name)/values.safetensors")
    let names = try layers(values).keys.flatMap { ["--layers", $0] }
    let same = try BuiltProgram().run(
      ["diff", fixture(name), values, "--tolerance", "1e-6", "--any-type", "--format", "json"]
        + names)
    let report = try CommandLine.json(same)
    #expect((report["changed"] as? [Any])?.isEmpty == true)
    #expect((report["onlyInB"] as? [Any])?.isEmpty == true)
    let side = try #require(report["a"] as? [String: Any])
    #expect((side["groups"] as? [Any])?.isEmpty == false)
    let stored = try CommandLine.run("diff", fixture(name), values, "--stored")
    #expect(stored.exitCode == 1)
  }

  /// A copy elsewhere has no configuration beside it and still compares equal.
  @Test func copyWithoutConfigurationComparesEqual() throws {
    try withTemporaryFolder { folder in
      for name in ["import/gptq-4", "import/mlx"] {
        let path = try PackageFolder.fixture("\(name)/model.safetensors")
        let copy = folder.appending("\(name.dropFirst(7)).safetensors")
        try FileManager.default.copyItem(atPath: path, toPath: copy)
        try CommandLine.succeed("diff", path, copy)
        try CommandLine.succeed("diff", copy, path)
      }
    }
  }

  @Test func packedAssembledWeightsVerifyAgainstReference() throws {
    try withTemporaryFolder { folder in
      for name in ["fp8", "awq", "bitsandbytes"] {
        let (input, output) = (try fixture(name), folder.appending("\(name).condi"))
        let outcome = try CommandLine.succeed(
          "convert", input, output, "--bits", "8", "--recipe", "all-linear", "--format", "json")
        let groups = try CommandLine.json(outcome)["groups"] as? [[String: Any]]
        #expect(groups?.isEmpty == false)
        try CommandLine.succeed(
          "verify", output, "--reference", input, "--reproduce", "--min-sqnr", "20")
        let journaled = folder.appending("\(name)-journal.condi")
        try CommandLine.succeed(
          "convert", input, journaled, "--bits", "8", "--recipe", "all-linear", "--journal")
        #expect(
          try Data(contentsOf: URL(filePath: output)) == Data(contentsOf: URL(filePath: journaled)))
      }
    }
  }

  @Test func jobsWriteSameFile() throws {
    try withTemporaryFolder { folder in
      let (alone, shared) = (folder.appending("a.condi"), folder.appending("b.condi"))
      let input = try fixture("fp8")
      try CommandLine.succeed("convert", input, alone, "--bits", "4", "--recipe", "all-linear")
      try CommandLine.succeed("plan", input, shared, "--bits", "4", "--recipe", "all-linear")
      try CommandLine.succeed("run", "\(shared).plan.json", "--job", "1/2")
      try CommandLine.succeed("run", "\(shared).plan.json", "--job", "2/2")
      try CommandLine.succeed("finish", "\(shared).plan.json")
      #expect(try Data(contentsOf: URL(filePath: alone)) == Data(contentsOf: URL(filePath: shared)))
    }
  }

  @Test func formatConversionKeepsStoredTensors() throws {
    try withTemporaryFolder { folder in
      let output = folder.appending("copy.pth")
      try CommandLine.succeed("convert", fixture("fp8"), output)
      try CommandLine.succeed("diff", fixture("fp8"), output, "--stored")
    }
  }

  @Test func adapterFactorsAreNotPackedAsLayers() throws {
    try withTemporaryFolder { folder in
      let path = try PackageFolder.fixture("logical/adapter/model.safetensors")
      let outcome = try CommandLine.run(
        "convert", path, folder.appending("x.condi"), "--bits", "4")
      #expect(outcome.exitCode == 2)
      #expect(
        outcome.standardError.contains(
          "differences to another model's weights; merge them into it first"))
      #expect(
        outcome.standardError.contains(
          "a difference to another model's weights; merge it into them"))
      let layer = try #require(try layers(path)["q.lora_A.weight"])
      #expect(
        layer["composition"] as? String
          == "LoRA factors; differences to another model's weights; merge them into it first")
      #expect(try folder.names().isEmpty)
    }
  }
}
