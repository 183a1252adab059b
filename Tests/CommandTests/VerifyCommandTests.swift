import Formats
import Foundation
import Storage
import TestSupport
import Testing

@Suite struct VerifyCommandTests {
  @Test func reproduceRepacksToSameBytes() throws {
    try CommandLine.withPackedExample { folder, packed in
      let outcome = try CommandLine.succeed(
        "verify", packed, "--reference", CommandLine.checkpoint, "--reproduce", "--format", "json")
      let report = try CommandLine.json(outcome)
      let reproduction = try #require(report["reproduction"] as? [String: Any])
      #expect(reproduction["isIdentical"] as? Bool == true)
      #expect(report["verdict"] as? String == "passed")

      // The same tensors in another file give the same records, but the source digest differs.
      let copy = folder.appending("copy.pth")
      try CommandLine.succeed("convert", CommandLine.checkpoint, copy, "--quiet")
      let other = try CommandLine.run(
        "verify", packed, "--reference", copy, "--reproduce", "--format", "json")
      #expect(other.exitCode == 1, "\(other.standardError)")
      let found = try #require(
        try CommandLine.json(other)["reproduction"] as? [String: Any])
      let deviations = try #require(found["deviations"] as? [[String: Any]])
      #expect(deviations.map { $0["region"] as? String } == ["header"])
    }
  }

  /// A file with only the packed part serves as a reference as well as the whole checkpoint.
  @Test func referenceMayHoldOnlyPackedPart() throws {
    try CommandLine.withPackedExample { folder, packed in
      let flat = folder.appending("flat.safetensors")
      try CommandLine.succeed(
        "convert", CommandLine.checkpoint, flat, "--root", "params", "--quiet")
      for reference in [flat, CommandLine.checkpoint] {
        let outcome = try CommandLine.succeed(
          "verify", packed, "--reference", reference, "--min-sqnr", "1", "--format", "json")
        #expect(try CommandLine.json(outcome)["isPassed"] as? Bool == true)
        let inspected = try CommandLine.succeed(
          "inspect", packed, "--reference", reference, "--extremes", "--format", "json")
        let layers = try #require(try CommandLine.json(inspected)["layers"] as? [[String: Any]])
        #expect(layers.count { $0["reference"] != nil } == layers.count)
      }
      let damaged = folder.appending("damaged.condi")
      try CommandLine.copy(packed, to: damaged) { $0[$0.count / 2] ^= 1 }
      let repaired = folder.appending("repaired.condi")
      try CommandLine.succeed("repair", damaged, flat, repaired, "--quiet")
      #expect(
        try Data(contentsOf: URL(filePath: repaired)) == Data(contentsOf: URL(filePath: packed)))
    }
  }

  /// The steps are finer than the spacing of the weights' own type, yet no code strays from its
  /// value.
  @Test func stepsFinerThanElementTypeVerify() throws {
    try withTemporaryFolder { folder in
      var generator = SplitMix(seed: 5)
      let values = (0..<1024).map { _ in Float16(3e-7 * generator.nextNormal()) }
      var archive = TensorArchive()
      archive.tensors["body.weight"] = try Tensor(
        elementType: .float16, shape: [32, 32], bytes: SharedBytes(elementsOf: values))
      let reference = folder.appending("w.safetensors")
      try FormatRegistry.standard.write(
        archive, as: SafetensorsFormat(), to: reference, replacesExisting: true)
      let recipe = try CalibrateCommandTests.recipe(folder)
      for options in [["--bits", "8"], ["--bits", "7", "--granularity", "channel"]] {
        let packed = folder.appending("w.condi")
        try CommandLine.succeedAll(
          ["convert", reference, packed, "--force", "--quiet"] + recipe + options)
        let outcome = try CommandLine.run("verify", packed, "--reference", reference)
        #expect(outcome.exitCode == 0, "\(outcome.standardOutput)")
      }
    }
  }

  @Test(arguments: [
    ["--min-sqnr", "nan", "--reference", "m.pth"], ["--min-sqnr=-inf", "--reference", "m.pth"],
    ["--max-condition", "inf"], ["--min-ratio", "nan"], ["--min-ratio", "inf"],
  ])
  func nonFiniteLimitsExitWith64(_ options: [String]) throws {
    #expect(try BuiltProgram().run(["verify", "m.condi"] + options).exitCode == 64)
  }

  @Test func maxConditionIsEnforced() throws {
    try CommandLine.withPackedExample { _, packed in
      try CommandLine.succeed("verify", packed, "--max-condition", "1e9", "--quiet")
      let outcome = try CommandLine.run("verify", packed, "--max-condition", "10")
      #expect(outcome.exitCode == 1)
      #expect(outcome.standardOutput.contains("FAILED: not met: condition number"))
    }
  }

  @Test(arguments: [
    ["--reproduce"], ["--repairable"], ["--max-condition", "0.5"], ["--max-condition", "nan"],
  ])
  func wrongUsageExitsWith64(_ options: [String]) throws {
    #expect(try BuiltProgram().run(["verify", "a.condi"] + options).exitCode == 64)
  }

  @Test func damageIsLocatedInReportAndMessage() throws {
    try CommandLine.withPackedExample { folder, packed in
      let size = try Data(contentsOf: URL(filePath: packed)).count
      let places = try PackedModel(parsing: InputFile(path: packed)).header.entries
      let entry = try #require(places.first { $0.name == "conv_first.weight" })
      let cases: [(String, (inout Data) -> Void, String, Int)] = [
        ("flipped", { $0[entry.offset] ^= 1 }, "tensor 'conv_first.weight'", entry.offset),
        ("prologue", { $0[3] ^= 1 }, "entry 'prologue'", 0),
        ("appended", { $0.append(0) }, "entry 'end'", size),
        ("cut", { $0.removeLast(10) }, "entry 'end'", size - 10),
      ]
      for (label, change, place, offset) in cases {
        let damaged = folder.appending("\(label).condi")
        try CommandLine.copy(packed, to: damaged, changing: change)
        let outcome = try CommandLine.run("verify", damaged, "--format", "json")
        #expect(outcome.exitCode == 2, "\(label)")
        #expect(
          outcome.standardError.hasPrefix(
            "condi-convert: \(damaged): \(place) at byte \(offset): "), "\(outcome.standardError)")
        let report = try CommandLine.json(outcome)
        #expect(report["isWhole"] as? Bool == false)
        #expect((report["faults"] as? [[String: Any]])?.first?["offset"] as? Int == offset)
      }
    }
  }
}
