import Foundation
import TestSupport
import Testing

/// `inspect` as a person or a CI job runs it.
@Suite struct InspectCommandTests {
  @Test func extremesMatchFullSpectrum() throws {
    func layers(_ arguments: String...) throws -> [[String: Any]] {
      let outcome = try BuiltProgram().run(
        ["inspect", CommandLine.checkpoint, "--layers", "*.weight", "--format", "json"] + arguments)
      return try #require(try CommandLine.json(outcome)["layers"] as? [[String: Any]])
    }
    let all = try layers()
    let extremes = try layers("--extremes")
    #expect(all.count == extremes.count)
    for (full, ends) in zip(all, extremes) {
      for key in ["sigmaMax", "sigmaMin", "conditionNumber"] {
        let (x, y) = (full[key] as? Double, ends[key] as? Double)
        #expect((x == nil) == (y == nil))
        if let x, let y { #expect(abs(y / x - 1) < 2e-4) }
      }
    }
  }

  @Test func failIfRulesDetermineExitCode() throws {
    try withTemporaryFolder { folder in
      let junit = folder.appending("report.xml")
      let failing = try CommandLine.run(
        "inspect", CommandLine.checkpoint, "--fail-if", "condition > 1000 on *.proj.weight",
        "--fail-if", "nan > 0", "--junit", junit, "--limit", "3")
      #expect(failing.exitCode == 1)
      #expect(failing.standardOutput.contains("FAILED by 3 of 24 layers"))
      #expect(failing.standardOutput.contains("FAILED: condition > 1000 on *.proj.weight"))
      #expect(failing.standardOutput.contains("passed by "))
      let xml = try String(contentsOfFile: junit, encoding: .utf8)
      #expect(xml.contains("failures=\"3\""))
      #expect(xml.contains("name=\"params.layers.2.residual_group.blocks.0.attn.proj.weight\""))
      try CommandLine.succeed(
        "inspect", CommandLine.checkpoint, "--fail-if", "condition > 1e9 on *.proj.weight",
        "--junit", junit)
      #expect(try String(contentsOfFile: junit, encoding: .utf8).contains("failures=\"0\""))
    }
  }

  @Test(arguments: [
    ("condition > 1 on nothing", "a tensor name that matches 'nothing'"),
    ("condition > x", "expected a number at character 13, found 'x'"),
  ])
  func invalidFailIfRulesAreErrors(_ rule: String, _ message: String) throws {
    let outcome = try CommandLine.run("inspect", CommandLine.checkpoint, "--fail-if", rule)
    #expect(outcome.exitCode == 2)
    #expect(outcome.standardOutput == "")
    #expect(outcome.standardError.contains(message))
  }

  @Test(arguments: [
    ["--tree", "a.pth", "b.pth"], ["a.pth", "b.pth", "--reference", "c.pth"],
    ["a.pth", "--junit", "x.xml"], ["a.pth", "--conv-operator", "64"],
    ["a.pth", "--extremes", "--singular-values"], ["a.pth", "--tree", "--fail-if", "nan > 0"], [],
  ])
  func wrongUsageExitsWith64(_ arguments: [String]) throws {
    #expect(try BuiltProgram().run(["inspect"] + arguments).exitCode == 64)
  }

  /// A checkpoint nests under 'params' the tensors that a packed file has at the top level.
  @Test func modelsOfDifferentNestingAreCompared() throws {
    try CommandLine.withPackedExample { _, packed in
      for files in [[CommandLine.checkpoint, packed], [packed, CommandLine.checkpoint]] {
        let outcome = try BuiltProgram().run(
          ["inspect", "--extremes", "--layers", "conv_*.weight", "--format", "csv"] + files)
        #expect(outcome.exitCode == 0)
        #expect(outcome.standardError.contains("comparing the tensors below 'params'"))
        #expect(!outcome.standardOutput.contains("not in"))
        #expect(outcome.standardOutput.contains("conv_first.weight"))
      }
    }
  }

  @Test func packedModelIsComparedWithReference() throws {
    try CommandLine.withPackedExample { _, packed in
      let outcome = try CommandLine.succeed(
        "inspect", packed, "--reference", CommandLine.checkpoint, "--format", "json")
      let report = try CommandLine.json(outcome)
      let layers = try #require(report["layers"] as? [[String: Any]])
      let beside = layers.filter {
        ($0["reference"] as? [String: Any])?["conditionNumber"] != nil
      }
      #expect(beside.count == 127)
      #expect(report["packed"] != nil)
      let pair = try CommandLine.succeed(
        "inspect", CommandLine.checkpoint, packed, "--sort", "bytes", "--limit", "3")
      #expect(pair.standardOutput.contains("size A"))
    }
  }

  @Test func convOperatorOptionSelectsCircularConvolution() throws {
    let outcome = try CommandLine.succeed(
      "inspect", CommandLine.checkpoint, "--layers", "*conv_first.weight", "--conv-operator", "8x8",
      "--format", "json")
    let layers = try #require(try CommandLine.json(outcome)["layers"] as? [[String: Any]])
    #expect(layers[0]["view"] as? String == "circular convolution on 8x8")
  }
}
