import Foundation
import TestSupport
import Testing

/// Exit codes, messages and leftover files.
@Suite struct MannersTests {
  @Test(arguments: [
    ["convert", "a.pth"],
    ["convert", "a.pth", "b.unknown"],
    ["convert", "a.pth", "b.condi", "--bits", "9"],
    ["convert", "a.pth", "b.condi", "--granularity", "row"],
    ["convert", "a.pth", "b.condi", "--parameters", "float64"],
    ["convert", "a.pth", "b.condi", "--keep", "["],
    ["convert", "a.pth", "b.npz", "--keep", "*"],
    ["convert", "a.pth", "b.npz", "--bits", "2"],
    ["convert", "a.pth", "b.npz", "--to", "zip"],
    ["inspect", "a.pth", "--sort", "beauty"],
    ["inspect", "a.pth", "--limit", "0"],
    ["inspect", "a.pth", "--format", "pdf"],
    ["diff", "a.pth", "b.pth", "--tolerance=-1"],
    ["verify", "a.condi", "--min-ratio", "paper"],
    ["verify", "a.condi", "--min-sqnr", "3"],
    ["unpack", "a.condi", "b.condi"],
    ["inspect", "a.pth", "--threads", "0"],
    ["fold", "a.pth"],
  ])
  func wrongUsageExitsWith64(_ arguments: [String]) throws {
    let outcome = try BuiltProgram().run(arguments)
    #expect(outcome.exitCode == 64, "\(outcome.standardError)")
    #expect(outcome.standardOutput.isEmpty)
    #expect(outcome.standardError.contains("Usage:"))
  }

  /// The usage is shown even where the command itself, not the parser, finds the mistake.
  @Test(arguments: [
    ["convert", "a.pth", "b.unknown"], ["convert", "a.pth", "b.npz", "--dry-run"],
    ["unpack", "a.condi", "b.unknown"],
  ]) func wrongUsageShowsCommandUsage(_ arguments: [String]) throws {
    func said(_ arguments: [String]) throws -> [Substring] {
      try BuiltProgram().run(arguments).standardError.split(separator: "\n")
    }
    let parsing = try said([arguments[0], "--no-such-option"])
    let running = try said(arguments)
    #expect(running.count == 3 && running[0].hasPrefix("Error: "), "\(running)")
    #expect(running.suffix(2) == parsing.suffix(2))
    #expect(running[1].hasPrefix("Usage: condi-convert \(arguments[0]) "))
  }

  @Test(arguments: [
    ["verify", "a.condi", "--max-bytes=2Mb"], ["verify", "a.condi", "--max-bytes=0"],
    ["convert", "a.pth", "b.condi", "--target-size=1e3"],
    ["convert", "a.pth", "b.condi", "--target-size=-5"],
  ]) func invalidByteSizesAreRefused(_ arguments: [String]) throws {
    let outcome = try BuiltProgram().run(arguments)
    #expect(outcome.exitCode == 64, "\(outcome.standardError)")
    #expect(outcome.standardError.contains("is invalid for '--"))
  }

  @Test func missingFileIsReportedInOneLine() throws {
    let outcome = try CommandLine.run("inspect", "/nowhere/a.pth")
    #expect(outcome.exitCode == 2)
    #expect(
      outcome.standardError
        == "condi-convert: /nowhere/a.pth: cannot open: No such file or directory\n")
  }

  @Test func unmatchedGlobIsAnError() throws {
    for command in [
      ["inspect", CommandLine.checkpoint],
      ["diff", CommandLine.checkpoint, CommandLine.checkpoint],
    ] {
      let outcome = try BuiltProgram().run(command + ["--layers", "*.wq.weight"])
      #expect(outcome.exitCode == 2)
      #expect(outcome.standardError.contains("expected a tensor name that matches '*.wq.weight'"))
    }
  }

  /// Errors that have a way out say it: an option, a command, or a name that was misspelt.
  @Test func errorsNameTheWayOut() throws {
    try CommandLine.withPackedExample { folder, packed in
      let (text, damaged, cut, output) = (
        folder.appending("note.txt"), folder.appending("damaged.condi"),
        folder.appending("cut.condi"), folder.appending("out.condi")
      )
      try Data("hello".utf8).write(to: URL(filePath: text))
      try CommandLine.copy(packed, to: damaged) { $0[3000] ^= 1 }
      try Data(contentsOf: URL(filePath: packed)).prefix(5000).write(to: URL(filePath: cut))
      let (model, other) = (
        CommandLine.checkpoint, try PackageFolder.fixture("gguf/alignment.gguf")
      )
      let image = PackageFolder.root.appending(path: "Examples/images/evaluation/drawing.png").path
      let restores = "; 'repair' restores it from what it was packed from"
      let closest = "; the closest is 'params.layers."
      let cases: [([String], String)] = [
        (["convert", text, output], "; 'inspect --help' names the formats"),
        (["convert", model, folder.appending("no/out.condi")], "no'; make it first"),
        (["convert", model, folder.appending("out.npz"), "--drop", "params.layer.*"], closest),
        (
          ["convert", model, folder.appending("out.npz"), "--cast", "*.wight=bf16"],
          "; the closest is '"
        ),
        (
          ["convert", model, folder.appending("out.npz"), "--rename", "foo=bar"],
          "that 'foo' changes, found names such as 'params."
        ),
        (["convert", model, output, "--keep", "layer.0.*"], "; the closest is 'layers.0."),
        (["inspect", model, "--layers", "params.layer.*"], closest),
        (["inspect", model, "--fail-if", "condition > 1 on params.layer.*"], closest),
        (["convert", model, output, "--calibration", model], "; 'calibrate' writes one"),
        (["convert", model, folder.appending("out.onnx")], "from a packed file or a network"),
        (["verify", damaged], restores), (["verify", cut], restores),
        (["unpack", damaged, folder.appending("out.pth")], restores),
        (["unpack", cut, folder.appending("out.pth")], restores),
        (["inspect", damaged], restores),
        (["verify", model], "; 'inspect' and 'audit' look at others"),
        (
          ["upscale", other, image, folder.appending("out.png")],
          "; 'upscale --help' names the networks"
        ),
        (["export", model, folder.appending("out.param")], "; onnx takes it"),
        (["import", model, output, "--from", "gptq"], "; --config names one elsewhere"),
        (["run", packed, "--job", "1/2"], "it is not a plan; 'plan' writes one"),
        (["finish", folder.appending("no.json")], "; 'plan' writes one"),
        (
          ["inspect", try PackageFolder.fixture("torch/calls_eval.pth")],
          "; 'audit' lists what loading it would run"
        ),
      ]
      for (arguments, wayOut) in cases {
        let outcome = try BuiltProgram().run(arguments + ["--quiet"])
        #expect([2, 64].contains(outcome.exitCode), "\(arguments)")
        #expect(outcome.standardError.contains(wayOut), "\(outcome.standardError)")
      }
      for (command, name) in [("inspect", "GGUF"), ("upscale", "SwinIR")] {
        #expect(try CommandLine.succeed(command, "--help").standardOutput.contains(name))
      }
    }
  }

  @Test func outputIsReplacedOnlyWithForce() throws {
    try CommandLine.withPackedExample { folder, packed in
      let before = try Data(contentsOf: URL(filePath: packed))
      let refused = try CommandLine.run("convert", CommandLine.checkpoint, packed, "--bits", "3")
      #expect(refused.exitCode == 2)
      #expect(refused.standardError.hasSuffix("already exists; use --force to replace it\n"))
      #expect(try Data(contentsOf: URL(filePath: packed)) == before)
      try CommandLine.succeed(
        "convert", CommandLine.checkpoint, packed, "--bits", "3", "--force", "--quiet")
      #expect(try Data(contentsOf: URL(filePath: packed)) != before)
      #expect(try folder.names() == ["model.condi"])
    }
  }

  @Test func failedConversionLeavesNoFiles() throws {
    try withTemporaryFolder { folder in
      let damaged = folder.appending("damaged.pth")
      // The damage is in the middle of the largest tensor: the index is intact, the checksum is
      // wrong.
      try CommandLine.copy(CommandLine.checkpoint, to: damaged) { $0[4_000_000] ^= 0x40 }
      for name in ["out.condi", "out.npz", "out.safetensors", "out.pth"] {
        let outcome = try CommandLine.run("convert", damaged, folder.appending(name), "--quiet")
        #expect(outcome.exitCode == 2, "\(name)")
        let lines = outcome.standardError.split(separator: "\n")
        #expect(lines.count == 1)
        // Packing takes the weights from below 'params', so names are shorter there.
        #expect(lines[0].contains("layers.3.residual_group.blocks.4.attn.proj.weight"), "\(lines)")
        #expect(lines[0].contains("at byte"))
        #expect(lines[0].contains("expected checksum"))
      }
      #expect(try folder.names() == ["damaged.pth"])
    }
  }

  @Test(arguments: ["pth", "npz", "safetensors", "condi"])
  func damagedFilesAreReportedInOneLine(_ suffix: String) throws {
    try withTemporaryFolder { folder in
      let whole = folder.appending("whole.\(suffix)")
      try CommandLine.succeed("convert", CommandLine.checkpoint, whole, "--quiet")
      let damages: [(String, (inout Data) -> Void)] = [
        ("empty", { $0 = Data() }), ("half", { $0 = $0.prefix($0.count / 2) }),
        ("short", { $0 = $0.dropLast(3) }),
        ("text", { $0 = Data("<html>not found</html>".utf8) }),
      ]
      for (name, damage) in damages {
        // The extension is wrong; the content decides.
        let path = folder.appending("\(name).pth")
        try CommandLine.copy(whole, to: path, changing: damage)
        let outcome = try CommandLine.run("inspect", path)
        #expect(outcome.exitCode == 2, "\(name)")
        #expect(outcome.standardOutput.isEmpty)
        let lines = outcome.standardError.split(separator: "\n")
        #expect(lines.count == 1 && lines[0].hasPrefix("condi-convert: \(path): "), "\(lines)")
      }
    }
  }

  @Test func damagedPackedFileFailsVerification() throws {
    try CommandLine.withPackedExample { folder, packed in
      let damaged = folder.appending("damaged.condi")
      try CommandLine.copy(packed, to: damaged) { $0[700_000] ^= 1 }
      let outcome = try CommandLine.run("verify", damaged)
      #expect(outcome.exitCode == 2)
      #expect(outcome.standardOutput.contains("FAILED"))
      #expect(outcome.standardError.contains("damaged.condi: tensor '"))
      #expect(outcome.standardError.contains("expected checksum"))
    }
  }

  @Test func packedFilesAreNotPackedAgain() throws {
    try CommandLine.withPackedExample { folder, packed in
      let outcome = try CommandLine.run("convert", packed, folder.appending("again.condi"))
      #expect(outcome.exitCode == 2)
      #expect(outcome.standardError.contains("it is already packed; 'unpack' it first"))
    }
  }

  @Test func quietConversionPrintsNothing() throws {
    try withTemporaryFolder { folder in
      let outcome = try CommandLine.succeed(
        "convert", CommandLine.checkpoint, folder.appending("a.npz"), "--quiet")
      #expect(outcome.standardError.isEmpty && outcome.standardOutput.isEmpty)
    }
  }

  @Test func recipesAreCheckedBeforeWork() throws {
    try withTemporaryFolder { folder in
      let recipe = folder.appending("recipe.json")
      try Data(#"{"rules": [{"match": "*.missing", "action": "quantize"}]}"#.utf8)
        .write(to: URL(filePath: recipe))
      let outcome = try CommandLine.run(
        "convert", CommandLine.checkpoint, folder.appending("a.condi"), "--recipe", recipe,
        "--quiet")
      #expect(outcome.exitCode == 2)
      #expect(outcome.standardError.contains("no tensor name matches '*.missing'"))
      let misspelt = try CommandLine.run(
        "convert", CommandLine.checkpoint, folder.appending("a.condi"), "--recipe", "bodies")
      #expect(misspelt.exitCode == 2)
      #expect(misspelt.standardError.contains("body-linear"))
    }
  }
}
