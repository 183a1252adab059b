import Formats
import Foundation
import TestSupport
import Testing
import Transform

/// Input rows for the example's linear layers: seeded, correlated, and spanning few directions.
private struct ExampleActivations: ActivationSource {
  let sites: [ActivationSite]
  let sampleCount = 3

  init() throws {
    let archive = try FormatRegistry.standard.open(CommandLine.checkpoint).selecting(root: "params")
    let plan = try QuantizationPlan(archive, recipe: .named("body-linear"))
    sites = plan.quantizedNames.compactMap { weight in
      guard let name = Calibration.inputSite(ofWeight: weight),
        let columns = archive.tensors[weight]?.shape.matrix?.columns
      else { return nil }
      return ActivationSite(name: name, kind: .input, weightName: weight, columnCount: columns)
    }
  }

  func run(
    sample: Int, observe: (Int, UnsafeBufferPointer<Float>, Int) throws -> Void
  ) throws {
    for (index, site) in sites.enumerated() {
      var generator = SplitMix(seed: UInt64(1000 * sample + index))
      let columns = site.columnCount
      var values: [Float] = []
      for _ in 0..<24 {
        let strong = (0..<6).map { _ in generator.nextNormal() }
        values += (0..<columns).map { column in
          strong[column % 6] * Float(1 + column % 5) + 0.1 * generator.nextNormal()
        }
      }
      try values.withUnsafeBufferPointer { try observe(index, $0, columns) }
    }
  }

  static func write(to path: String) throws {
    let calibration = try Calibrator(threads: 2).calibrate(ExampleActivations())
    try FormatRegistry.standard.write(
      calibration.archive(), as: NPZFormat(isCompressed: true), to: path)
  }
}

@Suite struct MethodCommandTests {
  private func isQuantizable(_ name: String) -> Bool {
    ["qkv", "proj", "fc1", "fc2"].contains { name.hasSuffix(".\($0).weight") }
  }

  @Test(.timeLimit(.minutes(5)), Python.require("jsonschema"))
  func conditionChangesOnlyQuantizableWeights() throws {
    try withTemporaryFolder { folder in
      let statistics = folder.appending("a.calib.npz")
      try ExampleActivations.write(to: statistics)
      let output = folder.appending("out.pth")
      let outcome = try CommandLine.succeed(
        "condition", CommandLine.checkpoint, output, "--calibration", statistics, "--iterations",
        "4", "--format", "json")
      try Schema.expectValid([outcome.standardOutput], "condition-report")
      let report = try CommandLine.json(outcome)
      let matrices = try #require(report["matrices"] as? [[String: Any]])
      #expect(matrices.count == 144)
      #expect(matrices.allSatisfy { $0["isCalibrated"] as? Bool == true })

      let before = try FormatRegistry.standard.open(CommandLine.checkpoint)
      let after = try FormatRegistry.standard.open(output)
      #expect(Array(before.tensors.keys) == Array(after.tensors.keys))
      #expect(before.values == after.values)
      for (name, tensor) in before.tensors where !isQuantizable(name) {
        #expect(try after.tensors[name]?.bytes().elementsEqual(tensor.bytes()) == true, "\(name)")
      }
      let inspected = try CommandLine.json(
        try CommandLine.succeed("inspect", output, "--split-qkv", "--format", "json"))
      let layers = try #require(inspected["layers"] as? [[String: Any]])
      let conditions = layers.filter { isQuantizable($0["name"] as? String ?? "") }
        .compactMap { $0["conditionNumber"] as? Double }
      #expect(conditions.count == 144)
      #expect(conditions.allSatisfy { $0 <= 28 * (1 + 1e-6) })

      // A conditioned model needs no further conditioning and comes back bit for bit.
      let again = folder.appending("again.pth")
      try CommandLine.succeed("condition", output, again, "--quiet")
      #expect(try CommandLine.run("diff", output, again).exitCode == 0)
    }
  }

  @Test(.timeLimit(.minutes(5)), Python.require("jsonschema"))
  func calibratedPackingVerifies() throws {
    try withTemporaryFolder { folder in
      let statistics = folder.appending("a.calib.npz")
      try ExampleActivations.write(to: statistics)
      let packed = folder.appending("a.condi")
      let outcome = try CommandLine.succeed(
        "quantize", CommandLine.checkpoint, packed, "--bits", "2", "--calibration", statistics,
        "--format", "json")
      try Schema.expectValid([outcome.standardOutput], "packing-report")
      let report = try CommandLine.json(outcome)
      #expect(report["method"] as? String == "best")
      #expect(report["activationCount"] as? Int == 96)

      let header = try CommandLine.succeed("inspect", packed, "--raw-header").standardOutput
      try Schema.expectValid([header], "packed-header")
      let json = try JSONSerialization.jsonObject(with: Data(header.utf8)) as? [String: Any]
      let recipe = try JSONSerialization.data(withJSONObject: try #require(json?["recipe"]))
      try Schema.expectValid([String(decoding: recipe, as: UTF8.self)], "recipe")
      #expect((json?["adjusted"] as? [String])?.count == 96)

      // Biases corrected by the method are not reported as damage.
      let verified = try CommandLine.succeed(
        "verify", packed, "--reference", CommandLine.checkpoint, "--format", "json")
      try Schema.expectValid([verified.standardOutput], "verification-report")
      let fidelity = try #require(
        try CommandLine.json(verified)["fidelity"] as? [String: Any])
      #expect((fidelity["adjustedTensors"] as? [String])?.count == 96)
      #expect((fidelity["alteredTensors"] as? [String])?.isEmpty == true)

      let second = try Python.run(
        ["-m", "condi", "verify", packed],
        environment: ["PYTHONPATH": PackageFolder.root.appending(path: "python").path])
      #expect(second.exitCode == 0, "\(second.standardError)")
    }
  }

  @Test(.timeLimit(.minutes(5)), Python.require("jsonschema"))
  func sizeTargetsAreMet() throws {
    try withTemporaryFolder { folder in
      let packed = folder.appending("a.condi")
      for limit in [1_100_000, 1_250_000] {
        try CommandLine.succeed(
          "convert", CommandLine.checkpoint, packed, "--target-size", "\(limit)", "--force",
          "--quiet")
        let size = try Data(contentsOf: URL(filePath: packed)).count
        #expect(size <= limit)
        #expect(size > limit - limit / 50)
      }
      try CommandLine.succeed(
        "convert", CommandLine.checkpoint, packed, "--target-ratio", "paper=3.2", "--force",
        "--quiet")
      try CommandLine.succeed("verify", packed, "--min-ratio", "paper=3.2")
      try FileManager.default.removeItem(atPath: packed)
      let planned = try CommandLine.succeed(
        "convert", CommandLine.checkpoint, packed, "--target-bpw", "3", "--dry-run", "--format",
        "json")
      try Schema.expectValid([planned.standardOutput], "plan-report")
      let bits = try #require(try CommandLine.json(planned)["bitsPerWeight"] as? Double)
      #expect(bits <= 3 && bits > 2.95)
      #expect(!FileManager.default.fileExists(atPath: packed))
      let refused = try CommandLine.run(
        "convert", CommandLine.checkpoint, packed, "--target-bpw", "1.5", "--quiet")
      #expect(refused.exitCode == 2)
      #expect(
        refused.standardError
          == "condi-convert: recipe 'body': at most 1.5 bits per weight cannot be reached even at "
          + "2 bits\n")
    }
  }

  @Test(Python.require("jsonschema")) func methodIsNearestUnlessAnotherIsNamed() throws {
    try withTemporaryFolder { folder in
      let files = try [[], ["--method", "nearest"]].map { method in
        let packed = folder.appending("a.condi")
        let outcome = try CommandLine.succeedAll(
          ["convert", CommandLine.checkpoint, packed, "--bits", "2", "--force", "--format", "json"]
            + method)
        try Schema.expectValid([outcome.standardOutput], "packing-report")
        #expect(try CommandLine.json(outcome)["method"] as? String == "nearest")
        return try Data(contentsOf: URL(filePath: packed))
      }
      #expect(files[0] == files[1])
    }
  }

  @Test(arguments: [
    ["convert", "--method", "nearest", "--calibration", "a.npz"],
    ["convert", "--method", "nearest", "--activation-bits", "4"],
    ["convert", "--weights-only"], ["convert", "--target-condition", "0.5"],
    ["convert", "--target-condition", "3", "--penalty", "1"],
    ["convert", "--activation-bits", "9"],
    ["convert", "--target-bpw", "3", "--target-size", "5"], ["convert", "--method", "magic"],
    ["quantize", "--target-condition", "3"],
  ]) func wrongUsageIsRefused(_ arguments: [String]) throws {
    let outcome = try BuiltProgram().run(
      [arguments[0], CommandLine.checkpoint, "/nonexistent/a.condi"] + arguments.dropFirst())
    #expect(outcome.exitCode == 64, "\(outcome.standardError)")
  }

  @Test func methodIsRefusedForUnpackedFormats() throws {
    let outcome = try CommandLine.run(
      "convert", CommandLine.checkpoint, "/nonexistent/a.npz", "--method", "best")
    #expect(outcome.exitCode == 64)
    #expect(outcome.standardError.contains("are for packing"))
  }
}
