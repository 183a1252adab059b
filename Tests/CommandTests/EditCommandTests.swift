import Foundation
import TestSupport
import Testing

/// `--rename`, `--drop` and `--cast`.
@Suite struct EditCommandTests {
  private static let edits = [
    "--rename", "^layers\\.(\\d+)\\.=blocks.$1.", "--drop",
    "*relative_position_index", "--cast", "*.weight=bf16",
  ]

  /// The same tensors come out of every writer, with a report of what the casts lost.
  @Test(arguments: ["safetensors", "npz", "pth", "shards", "journal"])
  func everyWriterMakesTheEdits(_ form: String) throws {
    try withTemporaryFolder { folder in
      let suffix = ["shards", "journal"].contains(form) ? "safetensors" : form
      let output = folder.appending("out.\(suffix)")
      let options =
        switch form {
        case "shards": ["--max-shard-size", "500kB"]
        case "journal": ["--journal"]
        default: [String]()
        }
      let outcome = try CommandLine.succeedAll(
        ["convert", CommandLine.checkpoint, output, "--format", "json", "--root", "params"]
          + Self.edits + options)
      let report = try CommandLine.json(outcome)
      let edits = try #require(report["edits"] as? [String: Any])
      let casts = try #require(edits["casts"] as? [[String: Any]])
      #expect(!casts.isEmpty)
      #expect(casts.allSatisfy { $0["to"] as? String == "bfloat16" })
      let rounded = try #require(edits["roundedCount"] as? Int)
      let sum = casts.reduce(0) { $0 + ($1["roundedCount"] as? Int ?? 0) }
      #expect(rounded == sum)
      #expect(rounded > 0)
      #expect(edits["overflowCount"] as? Int == 0)
      let index = "\(output).index.json"
      let written = form == "shards" ? index : output
      let list = try CommandLine.succeed(
        "inspect", written, "--tree", "--depth", "99", "--void-type", "bfloat16")
      #expect(list.standardOutput.contains("blocks"))
      #expect(list.standardOutput.contains("bfloat16"))
      #expect(!list.standardOutput.contains("relative_position_index"))
      // The cast is the only difference.
      let same = try CommandLine.run(
        "diff", CommandLine.checkpoint, written, "--map", "^params\\.=", "--map",
        "^layers\\.=blocks.",
        "--any-type", "--tolerance", "0.01", "--ignore", "*relative_position_index", "--void-type",
        "bfloat16")
      #expect(same.exitCode == 0, "\(same.standardOutput)")
    }
  }

  /// Recipes and '--keep' see the new names, and the packed file can be compared with its source.
  @Test func packedFileRemembersItsEdits() throws {
    try withTemporaryFolder { folder in
      let packed = folder.appending("model.condi")
      let outcome = try CommandLine.succeedAll(
        [
          "convert", CommandLine.checkpoint, packed, "--bits", "2", "--keep", "blocks.0.*",
          "--format", "json",
        ] + Self.edits)
      let report = try CommandLine.json(outcome)
      let layers = try #require(report["layers"] as? [[String: Any]])
      let names = layers.compactMap { $0["name"] as? String }
      #expect(names.allSatisfy { $0.hasPrefix("blocks.") })
      #expect(!names.contains { $0.hasPrefix("blocks.0.") })
      #expect(layers.allSatisfy { $0["elementType"] as? String == "bfloat16" })
      let verified = try CommandLine.run(
        "verify", packed, "--reference", CommandLine.checkpoint, "--reproduce")
      #expect(verified.exitCode == 0, "\(verified.standardOutput)\(verified.standardError)")
      let inspected = try CommandLine.run("inspect", packed, "--reference", CommandLine.checkpoint)
      #expect(inspected.exitCode == 0, "\(inspected.standardError)")
      // A network whose names were changed and changed back still runs.
      let back = folder.appending("back.pth")
      try CommandLine.succeed("unpack", packed, back, "--rename", "^blocks\\.=layers.")
      try CommandLine.succeed(
        "upscale", back, PackageFolder.fixture("images/metric_3.png"), folder.appending("o.png"))
      // And repairing makes them again.
      let damaged = folder.appending("damaged.condi")
      try CommandLine.copy(packed, to: damaged) { $0[3000] ^= 1 }
      let repaired = folder.appending("repaired.condi")
      try CommandLine.succeed("repair", damaged, CommandLine.checkpoint, repaired)
      #expect(
        try Data(contentsOf: URL(filePath: packed)) == Data(contentsOf: URL(filePath: repaired)))
    }
  }

  /// A dry run lists the edits that packing and other conversions then make.
  @Test(arguments: ["condi", "safetensors"])
  func dryRunsListTheEdits(_ suffix: String) throws {
    try withTemporaryFolder { folder in
      let output = folder.appending("out.\(suffix)")
      let command =
        ["convert", CommandLine.checkpoint, output, "--root", "params", "--format", "json"]
        + Self.edits
      let planned = try CommandLine.succeedAll(command + ["--dry-run"])
      #expect(!FileManager.default.fileExists(atPath: output))
      try Schema.expectValid(
        [planned.standardOutput], suffix == "condi" ? "plan-report" : "conversion-report")
      let made = try CommandLine.succeedAll(command)
      func edits(_ outcome: BuiltProgram.Outcome) throws -> NSDictionary {
        try #require(try CommandLine.json(outcome)["edits"] as? NSDictionary)
      }
      #expect(try edits(planned) == edits(made))
      #expect(try !(edits(planned)["renamed"] as? [Any] ?? []).isEmpty)
      let text = try CommandLine.succeedAll(command + ["--dry-run", "--format", "text"])
      #expect(text.standardOutput.contains("Nothing was written."))
      #expect(text.standardOutput.contains("Cast tensors"))
    }
  }

  /// 'condition' makes the edits on the way to its output; its other options see the input's names.
  @Test func conditioningMakesTheEdits() throws {
    try withTemporaryFolder { folder in
      let (plain, output) = (folder.appending("plain.pth"), folder.appending("out.pth"))
      let command = ["condition", CommandLine.checkpoint, "--iterations", "2", "--format", "json"]
      try CommandLine.succeedAll(command + [plain])
      let outcome = try CommandLine.succeedAll(
        command + [
          output, "--root", "params", "--rename", "^params\\.=", "--cast", "*.weight=bf16",
        ])
      try Schema.expectValid([outcome.standardOutput], "condition-report")
      let edits = try #require(try CommandLine.json(outcome)["edits"] as? [String: Any])
      #expect(edits["overflowCount"] as? Int == 0)
      let same = try CommandLine.run(
        "diff", plain, output, "--map", "^params\\.=", "--any-type", "--tolerance", "0.01")
      #expect(same.exitCode == 0, "\(same.standardOutput)")
      let mistake = try BuiltProgram().run(
        ["condition", CommandLine.checkpoint, output, "--force", "--drop", "nothing.*"])
      #expect(mistake.exitCode == 2)
      #expect(mistake.standardError.contains("'nothing.*'"))
    }
  }

  /// A packed file is compared with its source as it was packed, and other files as they are.
  @Test func comparisonsMakeRecordedEdits() throws {
    try withTemporaryFolder { folder in
      let (packed, unpacked) = (folder.appending("a.condi"), folder.appending("a.pth"))
      try CommandLine.succeedAll(
        ["convert", CommandLine.checkpoint, packed, "--recipe", "keep-all"] + Self.edits)
      try CommandLine.succeed("unpack", packed, unpacked)
      for pair in [[CommandLine.checkpoint, packed], [packed, CommandLine.checkpoint]] {
        let same = try BuiltProgram().run(["diff"] + pair)
        #expect(same.exitCode == 0, "\(same.standardOutput)\(same.standardError)")
        #expect(same.standardError.contains("casting as \(packed) records; --stored does not"))
        #expect(try BuiltProgram().run(["diff", "--stored"] + pair).exitCode == 1)
      }
      let unchanged = try BuiltProgram().run(["diff", unpacked, packed])
      #expect(unchanged.exitCode == 0, "\(unchanged.standardOutput)")
      #expect(!unchanged.standardError.contains("records"))
    }
  }

  /// Jobs make the same bytes as one process.
  @Test(arguments: ["condi", "safetensors"])
  func jobsMakeTheSameBytes(_ suffix: String) throws {
    try withTemporaryFolder { folder in
      let (output, whole) = (folder.appending("a.\(suffix)"), folder.appending("b.\(suffix)"))
      let edits = Self.edits + ["--root", "params"]
      try CommandLine.succeedAll(["convert", CommandLine.checkpoint, whole] + edits)
      try CommandLine.succeedAll(["plan", CommandLine.checkpoint, output] + edits)
      for job in ["1/2", "2/2"] {
        try CommandLine.succeed("run", "\(output).plan.json", "--job", job)
      }
      let outcome = try CommandLine.succeed("finish", "\(output).plan.json", "--format", "json")
      let report = try #require(try CommandLine.json(outcome)["edits"] as? [String: Any])
      #expect((report["roundedCount"] as? Int ?? 0) > 0)
      #expect(
        try Data(contentsOf: URL(filePath: whole)) == Data(contentsOf: URL(filePath: output)))
    }
  }

  @Test func mistakesLeaveNothing() throws {
    try withTemporaryFolder { folder in
      let output = folder.appending("out.safetensors")
      func failure(_ options: String...) throws -> BuiltProgram.Outcome {
        try BuiltProgram().run(["convert", CommandLine.checkpoint, output] + options)
      }
      let collision = try failure("--rename", "\\.\\d+\\.=.")
      #expect(collision.exitCode == 2)
      #expect(collision.standardError.contains("both become 'params.layers."))
      let nothing = try failure("--drop", "nothing.*")
      #expect(nothing.exitCode == 2)
      #expect(
        nothing.standardError.contains(
          "expected a tensor name that 'nothing.*' matches, found none"))
      #expect(try failure("--cast", "*=int8").exitCode == 64)
      #expect(try failure("--rename", "(=x").exitCode == 64)
      #expect(try failure("--cast", "*=f16", "--consume-input").exitCode == 64)
      #expect(try folder.names() == [])
    }
  }

  @Test func mergeMakesEdits() throws {
    try withTemporaryFolder { folder in
      let output = folder.appending("merged.safetensors")
      let outcome = try CommandLine.succeed(
        "merge", PackageFolder.fixture("lora/float32/base.safetensors"),
        PackageFolder.fixture("lora/float32/adapter_model.safetensors"), output, "--cast",
        "*=float16", "--format", "json")
      let edits = try #require(try CommandLine.json(outcome)["edits"] as? [String: Any])
      #expect((edits["casts"] as? [Any])?.isEmpty == false)
      let list = try CommandLine.succeed("inspect", output, "--tree", "--depth", "99")
      #expect(!list.standardOutput.contains("float32"))
    }
  }
}
