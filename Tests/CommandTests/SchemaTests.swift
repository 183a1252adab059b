import Foundation
import TestSupport
import Testing

/// JSON that the command prints or stores, against the published schemas.
@Suite(Python.require("jsonschema")) struct SchemaTests {
  private func expectValid(
    _ json: String, _ schema: String, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("document.json")
      try Data(json.utf8).write(to: URL(filePath: path))
      let outcome = try Python.run([
        "Tests/Fixtures/interop/validate_json.py", "schemas/\(schema).schema.json", path,
      ])
      #expect(
        outcome.exitCode == 0, "\(outcome.standardOutput)\(outcome.standardError)",
        sourceLocation: sourceLocation)
    }
  }

  @Test func reportsAreValid() throws {
    try CommandLine.withPackedExample { folder, packed in
      let converted = try CommandLine.succeed(
        "convert", CommandLine.checkpoint, folder.appending("b.condi"), "--format", "json")
      try expectValid(converted.standardOutput, "packing-report")
      for file in [CommandLine.checkpoint, packed] {
        let inspected = try CommandLine.succeed(
          "inspect", file, "--split-qkv", "--singular-values", "--format", "json")
        try expectValid(inspected.standardOutput, "model-report")
        let shorter = try CommandLine.succeed(
          "inspect", file, "--extremes", "--reference", CommandLine.checkpoint, "--fail-if",
          "condition > 1e9", "--format", "json")
        try expectValid(shorter.standardOutput, "model-report")
      }
      let comparison = try CommandLine.succeed(
        "inspect", CommandLine.checkpoint, packed, "--format", "json")
      try expectValid(comparison.standardOutput, "model-comparison")
      for file in [
        CommandLine.checkpoint, packed, try PackageFolder.fixture("torch/checkpoint.pth"),
      ] {
        for depth in ["0", "2", "99"] {
          let tree = try CommandLine.succeed(
            "inspect", file, "--tree", "--depth", depth, "--format", "json")
          try expectValid(tree.standardOutput, "tree-report")
        }
      }
      let difference = try CommandLine.run(
        "diff", CommandLine.checkpoint, packed, "--condition", "--tolerance", "*.bias=1e-3",
        "--format", "json")
      try expectValid(difference.standardOutput, "diff-report")
      let verified = try CommandLine.succeed(
        "verify", packed, "--reference", CommandLine.checkpoint, "--min-ratio", "paper=3",
        "--min-sqnr", "1", "--reproduce", "--format", "json")
      try expectValid(verified.standardOutput, "verification-report")
      let size = try Data(contentsOf: URL(filePath: packed)).count
      for place in [100, size - 9] {
        let damaged = folder.appending("damaged\(place).condi")
        try CommandLine.copy(packed, to: damaged) { $0[place] ^= 1 }
        let found = try CommandLine.run(
          "verify", damaged, "--reference", CommandLine.checkpoint, "--repairable", "--format",
          "json")
        #expect(found.exitCode == 2)
        try expectValid(found.standardOutput, "verification-report")
      }
    }
  }

  @Test func exportsAndImportsAreValid() throws {
    try withTemporaryFolder { folder in
      for target in ["mlx", "onnx", "gguf", "safetensors"] {
        let exported = try CommandLine.succeed(
          "export", PackageFolder.fixture("export/sample.condi"), folder.appending(target), "--to",
          target, "--pad", "--dequantize", "--format", "json")
        try expectValid(exported.standardOutput, "export-report")
      }
      let imported = try CommandLine.succeed(
        "import", PackageFolder.fixture("import/mlx"), folder.appending("b.condi"), "--from", "mlx",
        "--format", "json")
      try expectValid(imported.standardOutput, "export-report")
    }
  }

  @Test func evaluationsAreValid() throws {
    try EvaluateCommandTests.withDataSet { _, set in
      for models in [[], [CommandLine.checkpoint]] {
        let evaluated = try BuiltProgram().run(
          ["evaluate"] + models + ["--dataset", set, "--scale", "2", "--format", "json"])
        #expect(evaluated.exitCode == 0, "\(evaluated.standardError)")
        try expectValid(evaluated.standardOutput, "evaluation-report")
      }
    }
  }

  @Test func packedHeadersAreValid() throws {
    try CommandLine.withPackedExample { folder, packed in
      let header = try CommandLine.succeed("inspect", packed, "--raw-header").standardOutput
      try expectValid(header, "packed-header")
      let json = try JSONSerialization.jsonObject(with: Data(header.utf8)) as? [String: Any]
      let recipe = try JSONSerialization.data(withJSONObject: try #require(json?["recipe"]))
      try expectValid(String(decoding: recipe, as: UTF8.self), "recipe")
    }
  }

  @Test(arguments: ["condi", "safetensors"])
  func conversionPlansAreValid(_ suffix: String) throws {
    try withTemporaryFolder { folder in
      let model = try LargeCheckpoint(in: folder, layers: 3)
      let output = folder.appending("out.\(suffix)")
      let planned = try CommandLine.succeed("plan", model.folder, output, "--format", "json")
      try expectValid(planned.standardOutput, "conversion-plan-report")
      try expectValid(
        String(contentsOfFile: "\(output).plan.json", encoding: .utf8), "conversion-plan")
    }
  }

  /// A schema that accepts everything would prove nothing.
  @Test func schemasRefuseNonsense() throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("document.json")
      try Data(#"{"schemaVersion": "one"}"#.utf8).write(to: URL(filePath: path))
      for schema in [
        "packing-report", "model-report", "diff-report", "verification-report", "packed-header",
        "recipe", "tree-report", "evaluation-report", "model-comparison", "calibration-report",
        "export-report", "conversion-plan", "conversion-plan-report",
      ] {
        let outcome = try Python.run([
          "Tests/Fixtures/interop/validate_json.py", "schemas/\(schema).schema.json", path,
        ])
        #expect(outcome.exitCode == 1, "\(schema)")
      }
    }
  }
}
