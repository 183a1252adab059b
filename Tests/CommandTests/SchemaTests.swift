import Foundation
import TestSupport
import Testing

/// JSON that the command prints or stores, validated against the published schemas.
@Suite(Python.require("jsonschema")) struct SchemaTests {
  /// Documents that one schema describes.
  struct Documents: Sendable, CustomTestStringConvertible {
    let schema: String
    /// Makes the documents, given a folder for files.
    let make: @Sendable (TemporaryFolder) throws -> [String]

    init(_ schema: String, _ make: @escaping @Sendable (TemporaryFolder) throws -> [String]) {
      self.schema = schema
      self.make = make
    }

    var testDescription: String { schema }
  }

  static let all = [
    Documents("audit-report") { _ in
      try ["checkpoint", "calls_system", "truncated"].map { name in
        try CommandLine.run(
          "audit", PackageFolder.fixture("torch/\(name).pth"), "--format", "json"
        ).standardOutput
      }
    },
    Documents("calibration-report") { folder in
      let model = try CalibrateCommandTests.model(folder)
      return try EvaluateCommandTests.withDataSet { _, set in
        [
          try CommandLine.succeed(
            "calibrate", model, folder.appending("a.calib.npz"), "--images", "\(set)/HR",
            "--patches", "2", "--patch-size", "16", "--format", "json"
          ).standardOutput
        ]
      }
    },
    Documents("condition-report") { folder in
      let arguments = [
        "condition", try CalibrateCommandTests.model(folder), folder.appending("out.safetensors"),
        "--iterations", "2", "--format", "json",
      ]
      return [
        try CommandLine.succeedAll(arguments + CalibrateCommandTests.recipe(folder)).standardOutput
      ]
    },
    Documents("conversion-plan") { folder in
      try conversionPlans(folder).map { try String(contentsOfFile: $0.path, encoding: .utf8) }
    },
    Documents("conversion-plan-report") { folder in
      try conversionPlans(folder).map(\.report)
    },
    Documents("conversion-report") { folder in
      [
        try CommandLine.succeedAll(
          ["convert", CommandLine.checkpoint, folder.appending("b.npz"), "--format", "json"]
            + edits
        ).standardOutput
      ]
    },
    Documents("derivation-statement") { folder in
      let statement = folder.appending("statement.json")
      try CommandLine.succeed(
        "convert", CommandLine.checkpoint, folder.appending("s.condi"), "--statement", statement)
      return [try String(contentsOfFile: statement, encoding: .utf8)]
    },
    Documents("diff-report") { _ in
      let outcome = try CommandLine.run(
        "diff", CommandLine.checkpoint, CommandLine.packedExample(), "--condition", "--tolerance",
        "*.bias=1e-3", "--format", "json")
      let run = try EvaluateCommandTests.withDataSet { _, set in
        try CommandLine.run(
          "diff", CommandLine.checkpoint, CommandLine.packedExample(), "--dataset", set, "--format",
          "json")
      }
      return [outcome.standardOutput, run.standardOutput]
    },
    Documents("evaluation-report") { _ in
      try EvaluateCommandTests.withDataSet { _, set in
        try [[], [CommandLine.checkpoint]].map { models in
          try CommandLine.succeedAll(
            ["evaluate"] + models + ["--dataset", set, "--scale", "2", "--format", "json"]
          ).standardOutput
        }
      }
    },
    Documents("export-report") { folder in
      let exported = try ["mlx", "onnx", "gguf", "safetensors"].map { target in
        try CommandLine.succeed(
          "export", PackageFolder.fixture("export/sample.condi"), folder.appending(target), "--to",
          target, "--pad", "--dequantize", "--format", "json"
        ).standardOutput
      }
      let imported = try CommandLine.succeed(
        "import", PackageFolder.fixture("import/mlx"), folder.appending("b.condi"), "--from", "mlx",
        "--format", "json")
      return exported + [imported.standardOutput]
    },
    Documents("model-comparison") { _ in
      [
        try CommandLine.succeed(
          "inspect", CommandLine.checkpoint, CommandLine.packedExample(), "--format", "json"
        ).standardOutput
      ]
    },
    Documents("model-report") { folder in
      try [CommandLine.checkpoint, CommandLine.packedExample()].flatMap { file in
        [
          try CommandLine.succeed(
            "inspect", file, "--split-qkv", "--singular-values", "--format", "json"
          ).standardOutput,
          try CommandLine.succeed(
            "inspect", file, "--extremes", "--reference", CommandLine.checkpoint, "--fail-if",
            "condition > 1e9", "--format", "json"
          ).standardOutput,
        ]
      } + [
        try CommandLine.succeed("inspect", oddEntries(), "--format", "json").standardOutput,
        try calibratedReport(folder),
      ]
    },
    Documents("packed-header") { folder in
      let edited = folder.appending("edited.condi")
      try CommandLine.succeedAll(["convert", CommandLine.checkpoint, edited] + edits)
      return [
        try packedHeader(),
        try CommandLine.succeed("inspect", edited, "--raw-header").standardOutput,
      ]
    },
    Documents("packing-report") { folder in
      [
        try CommandLine.succeed(
          "convert", CommandLine.checkpoint, folder.appending("b.condi"), "--format", "json"
        ).standardOutput,
        try CommandLine.succeedAll(
          ["convert", CommandLine.checkpoint, folder.appending("c.condi"), "--format", "json"]
            + edits
        ).standardOutput,
      ]
    },
    Documents("plan-report") { folder in
      let recipe = folder.appending("recipe.json")
      let rule = #"{"match": "*.weight", "where": {"rank": 2}, "action": "quantize"}"#
      try Data(#"{"rules": [\#(rule)]}"#.utf8).write(to: URL(filePath: recipe))
      return [
        try CommandLine.succeed(
          "convert", CalibrateCommandTests.model(folder), folder.appending("b.condi"),
          "--target-bpw", "3", "--dry-run", "--recipe", recipe, "--format", "json"
        ).standardOutput
      ]
    },
    Documents("recipe") { _ in
      let header = try JSONSerialization.jsonObject(with: Data(packedHeader().utf8))
      let recipe = try #require((header as? [String: Any])?["recipe"])
      let json = try JSONSerialization.data(withJSONObject: recipe)
      return [String(decoding: json, as: UTF8.self)]
    },
    Documents("trajectory-report") { _ in
      [
        try CommandLine.succeed(
          "inspect", CommandLine.checkpoint, CommandLine.packedExample(), "--trajectory",
          "--format", "json"
        ).standardOutput
      ]
    },
    Documents("tree-report") { _ in
      let files = [
        CommandLine.checkpoint, try CommandLine.packedExample(),
        try PackageFolder.fixture("torch/checkpoint.pth"), try oddEntries(),
      ]
      return try files.flatMap { file in
        try ["0", "2", "99"].map { depth in
          try CommandLine.succeed(
            "inspect", file, "--tree", "--depth", depth, "--format", "json"
          ).standardOutput
        }
      }
    },
    Documents("upscale-report") { folder in
      try ["described.png", "rgb8.png"].map { name in
        try CommandLine.succeed(
          "upscale", "bicubic", PackageFolder.fixture("images/\(name)"), folder.appending("o.jpg"),
          "--scale", "2", "--force", "--format", "json"
        ).standardOutput
      }
        + [
          CommandLine.run(
            "upscale", "bicubic", UpscaleCommandTests.mixedImages(below: folder),
            folder.appending("large"), "--scale",
            "2", "--format", "json"
          ).standardOutput,
          CommandLine.run(
            "upscale", UpscaleMemoryTests.checkpoint("span_x2", in: folder),
            PackageFolder.fixture("images/metric_3.png"), folder.appending("tiled.png"), "--tile",
            "32", "--format", "json"
          ).standardOutput,
        ]
    },
    Documents("verification-report") { folder in
      let packed = try CommandLine.packedExample()
      let verified = try CommandLine.succeed(
        "verify", packed, "--reference", CommandLine.checkpoint, "--min-ratio", "paper=3",
        "--min-sqnr", "1", "--reproduce", "--derived-from", CommandLine.checkpoint, "--format",
        "json")
      let size = try Data(contentsOf: URL(filePath: packed)).count
      return try [verified.standardOutput]
        + [100, size - 9].map { place in
          let damaged = folder.appending("damaged\(place).condi")
          try CommandLine.copy(packed, to: damaged) { $0[place] ^= 1 }
          let found = try CommandLine.run(
            "verify", damaged, "--reference", CommandLine.checkpoint, "--repairable", "--format",
            "json")
          #expect(found.exitCode == 2)
          return found.standardOutput
        }
    },
  ]

  /// Changes of names and element types of the example.
  private static let edits = [
    "--rename", "^params\\.|^layers\\.=blocks.", "--drop", "*relative_position_index", "--cast",
    "*=float16",
  ]

  /// Returns the report of a small network with calibrated inputs.
  private static func calibratedReport(_ folder: TemporaryFolder) throws -> String {
    let model = try CalibrateCommandTests.model(folder)
    return try EvaluateCommandTests.withDataSet { _, set in
      let statistics = folder.appending("a.calib.npz")
      try CommandLine.succeed(
        "calibrate", model, statistics, "--images", "\(set)/HR", "--patches", "2", "--patch-size",
        "16", "--quiet")
      return try CommandLine.succeed(
        "inspect", model, "--calibration", statistics, "--format", "json"
      ).standardOutput
    }
  }

  /// Returns the path of a file with several unreadable entries.
  private static func oddEntries() throws -> String {
    try PackageFolder.fixture("npz/odd_entries.npz")
  }

  private static func packedHeader() throws -> String {
    try CommandLine.succeed("inspect", CommandLine.packedExample(), "--raw-header").standardOutput
  }

  /// Plans a packed and a lossless conversion, and returns the path and the report of each plan.
  private static func conversionPlans(
    _ folder: TemporaryFolder
  ) throws -> [(path: String, report: String)] {
    let model = try LargeCheckpoint(in: folder, layers: 3)
    return try [("condi", []), ("safetensors", []), ("npz", ["--cast", "*=float16"])].map {
      suffix, options in
      let output = folder.appending("out.\(suffix)")
      let planned = try CommandLine.succeedAll(
        ["plan", model.folder, output, "--format", "json"] + options)
      return ("\(output).plan.json", planned.standardOutput)
    }
  }

  @Test(arguments: all)
  func documentsMatchSchema(_ documents: Documents) throws {
    try withTemporaryFolder { folder in
      let texts = try documents.make(folder)
      try #require(!texts.isEmpty)
      try Schema.expectValid(texts, documents.schema)
    }
  }

  @Test func everySchemaHasDocuments() throws {
    #expect(try Self.all.map(\.schema) == Schema.names())
  }
}
