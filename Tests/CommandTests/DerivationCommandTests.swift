import Formats
import Foundation
import Storage
import TestSupport
import Testing

/// `verify --derived-from`, statements, and the repair of calibrated files.
@Suite struct DerivationCommandTests {
  private func derivation(_ outcome: BuiltProgram.Outcome) throws -> [String: Any] {
    try #require(try CommandLine.json(outcome)["derivation"] as? [String: Any])
  }

  /// Calls `body` with a model, what it was calibrated with, and what that made of it.
  private func withCalibrated(
    _ body: (_ folder: TemporaryFolder, _ model: String, _ images: String, _ packed: String) throws
      -> Void
  ) throws {
    try EvaluateCommandTests.withDataSet { folder, set in
      let model = try CalibrateCommandTests.model(folder)
      let packed = folder.appending("model.condi")
      try CommandLine.succeedAll(
        [
          "convert", model, packed, "--calibration-images", "\(set)/HR", "--patches", "3",
          "--patch-size", "16", "--steps", "2", "--quiet",
        ] + CalibrateCommandTests.recipe(folder))
      try body(folder, model, "\(set)/HR", packed)
    }
  }

  @Test func sampleIsMadeAgainAndSeedIsPrinted() throws {
    try CommandLine.withPackedExample { folder, packed in
      let outcome = try CommandLine.succeed(
        "verify", packed, "--derived-from", CommandLine.checkpoint, "--format", "json")
      let first = try derivation(outcome)
      #expect(first["checkedCount"] as? Int == 16)
      #expect((first["deviations"] as? [Any])?.isEmpty == true)
      let seed = try #require(first["seed"] as? Int)
      let text = try CommandLine.succeed(
        "verify", packed, "--derived-from", CommandLine.checkpoint, "--seed", "\(seed)")
      #expect(text.standardOutput.contains("16 of "))
      #expect(text.standardOutput.contains("seed \(seed)"))
      let all = try derivation(
        CommandLine.succeed(
          "verify", packed, "--derived-from", CommandLine.checkpoint, "--sample", "all",
          "--format", "json"))
      #expect(all["checkedCount"] as? Int == all["recordCount"] as? Int)
      // The same tensors in another file are another source.
      let copy = folder.appending("copy.pth")
      try CommandLine.succeed("convert", CommandLine.checkpoint, copy, "--quiet")
      let other = try CommandLine.run("verify", packed, "--derived-from", copy)
      #expect(other.exitCode == 1)
      #expect(other.standardOutput.contains("ANOTHER SOURCE"))
    }
  }

  /// A file whose checksums are right, but whose content is not what the recipe gives.
  @Test func forgedRecordIsFound() throws {
    try withTemporaryFolder { folder in
      let honest = folder.appending("honest.condi")
      try CommandLine.succeed("convert", CommandLine.checkpoint, honest, "--bits", "2", "--quiet")
      var archive = try FormatRegistry.standard.open(CommandLine.checkpoint)
      let tensor = try #require(archive.tensors["params.norm.bias"])
      var bytes = try tensor.bytes().array
      bytes[1] ^= 0x20
      archive.tensors["params.norm.bias"] = try Tensor(
        elementType: tensor.elementType, shape: tensor.shape, bytes: SharedBytes(bytes))
      let changed = folder.appending("changed.pth")
      let forged = folder.appending("forged.condi")
      try FormatRegistry.standard.write(archive, as: PyTorchFormat(), to: changed)
      try CommandLine.succeed("convert", changed, forged, "--bits", "2", "--quiet")
      let outcome = try CommandLine.run(
        "verify", forged, "--derived-from", CommandLine.checkpoint, "--sample", "all", "--format",
        "json")
      #expect(outcome.exitCode == 1)
      let deviations = try #require(try derivation(outcome)["deviations"] as? [[String: Any]])
      #expect(deviations.map { $0["tensor"] as? String } == ["norm.bias"])
    }
  }

  @Test func statementIsWrittenAndChecked() throws {
    try withTemporaryFolder { folder in
      let packed = folder.appending("model.condi")
      let statement = folder.appending("model.intoto.json")
      try CommandLine.succeed(
        "convert", CommandLine.checkpoint, packed, "--bits", "2", "--quiet", "--statement",
        statement)
      let json = try #require(
        JSONSerialization.jsonObject(with: Data(contentsOf: URL(filePath: statement)))
          as? [String: Any])
      #expect(json["_type"] as? String == "https://in-toto.io/Statement/v1")
      let digest = try InputFile(path: packed).sha256()
      let subject = try #require((json["subject"] as? [[String: Any]])?.first)
      #expect(subject["name"] as? String == "model.condi")
      #expect((subject["digest"] as? [String: String]) == ["sha256": digest])
      try CommandLine.succeed(
        "verify", packed, "--derived-from", CommandLine.checkpoint, "--statement", statement,
        "--quiet")
      // 'verify' writes the same.
      let again = folder.appending("again.json")
      try CommandLine.succeed(
        "verify", packed, "--derived-from", CommandLine.checkpoint, "--write-statement", again)
      #expect(
        try Data(contentsOf: URL(filePath: again)) == Data(contentsOf: URL(filePath: statement)))
      // It is not about another file.
      let other = folder.appending("other.condi")
      try CommandLine.succeed(
        "convert", CommandLine.checkpoint, other, "--bits", "3", "--quiet")
      let refused = try CommandLine.run(
        "verify", other, "--derived-from", CommandLine.checkpoint, "--statement", statement)
      #expect(refused.exitCode == 1)
      #expect(refused.standardOutput.contains("the packed file's SHA-256 is "))
      #expect(refused.standardOutput.contains("the recipe's SHA-256 is "))
      // Nothing is replaced without being asked for, and nothing converted before that is known.
      let unasked = try CommandLine.run(
        "convert", CommandLine.checkpoint, folder.appending("new.condi"), "--statement", statement)
      #expect(unasked.exitCode == 2)
      #expect(!FileManager.default.fileExists(atPath: folder.appending("new.condi")))
    }
  }

  @Test(arguments: [
    ("{}", "_type: expected"),
    (#"{"_type": "https://in-toto.io/Statement/v0.1"}"#, "expected the _type"),
    (#"{"payloadType": "application/vnd.in-toto+json", "payload": "e30="}"#, "a signed envelope"),
    ("[", "model.intoto.json"),
  ])
  func otherStatementsAreRefused(_ text: String, _ message: String) throws {
    try CommandLine.withPackedExample { folder, packed in
      let statement = folder.appending("model.intoto.json")
      try Data(text.utf8).write(to: URL(filePath: statement))
      let outcome = try CommandLine.run(
        "verify", packed, "--derived-from", CommandLine.checkpoint, "--statement", statement)
      #expect(outcome.exitCode == 2)
      #expect(outcome.standardError.contains(message), "\(outcome.standardError)")
    }
  }

  /// A calibrated and distilled file is made again from the same images, damaged or not.
  @Test func calibratedFileIsRepairedAndDerived() throws {
    try withCalibrated { folder, model, images, packed in
      let parsed = try PackedModel(parsing: InputFile(path: packed))
      let changed = try #require(parsed.header.adjustedNames.first)
      let quantized = try #require(
        parsed.header.entries.first { if case .affine = $0.encoding { true } else { false } })
      let damaged = folder.appending("damaged.condi")
      let whole = try Data(contentsOf: URL(filePath: packed))
      var bytes = whole
      for entry in [quantized, try #require(parsed.entry(named: changed))] {
        bytes[entry.offset] ^= 1
      }
      try bytes.write(to: URL(filePath: damaged))
      let restored = folder.appending("restored.condi")
      let refused = try CommandLine.run("repair", damaged, model, restored)
      #expect(refused.exitCode == 2)
      #expect(refused.standardError.contains("the same images are needed"))
      try CommandLine.succeed("repair", damaged, model, restored, "--calibration-images", images)
      #expect(try Data(contentsOf: URL(filePath: restored)) == whole)

      let outcome = try CommandLine.run(
        "verify", packed, "--derived-from", model, "--sample", "all", "--calibration-images",
        images)
      #expect(outcome.exitCode == 0, "\(outcome.standardOutput)")
      let missing = try CommandLine.run(
        "verify", packed, "--derived-from", model, "--sample", "all")
      #expect(missing.exitCode == 1)
      #expect(missing.standardOutput.contains("the same images are needed"))
    }
  }

  @Test(arguments: [["--sample", "3"], ["--seed", "1"], ["--statement", "s"]])
  func optionsNeedDerivedFrom(_ options: [String]) throws {
    #expect(try BuiltProgram().run(["verify", "m.condi"] + options).exitCode == 64)
  }
}
