import Formats
import Foundation
import TestSupport
import Testing

@Suite struct ExportCommandTests {
  @Test(arguments: [
    ["export", "a.condi", "b"], ["export", "a.condi", "b.mlx"],
    ["export", "a.condi", "b.onnx", "--to", "coreml"],
    ["export", "a.pth", "b.bin", "--to", "ncnn"],
    ["export", "a.pth", "b.onnx", "--precision", "float16"],
    ["export", "a.condi", "b.param", "--weights"], ["export", "a.condi", "b.param", "--pad"],
    ["import", "a.safetensors", "b.condi"],
    ["import", "a.safetensors", "b.condi", "--from", "hqq"],
  ])
  func wrongUsageExitsWith64(_ arguments: [String]) throws {
    let outcome = try BuiltProgram().run(arguments)
    #expect(outcome.exitCode == 64, "\(outcome.standardError)")
    #expect(outcome.standardError.contains("Usage:"))
  }

  /// Most runtimes refuse SwinIR-light's rows of 60 and 120 elements.
  @Test func exampleExportsToEveryRuntime() throws {
    try CommandLine.withPackedExample { folder, packed in
      for (target, name) in [
        ("mlx", "mlx"), ("onnx", "m.onnx"), ("gguf", "m.gguf"), ("safetensors", "m.safetensors"),
      ] {
        let output = folder.appending(name)
        let outcome = try CommandLine.succeed(
          "export", packed, output, "--to", target, "--pad", "--format", "json")
        let report = try CommandLine.json(outcome)
        let tensors = try #require(report["tensors"] as? [[String: Any]])
        #expect(tensors.count == 354)
        let lossy = tensors.filter { $0["fidelity"] as? String == "lossy" }
        #expect(lossy.count == (target == "gguf" ? 96 : 0))
        #expect(lossy.allSatisfy { ($0["largestError"] as? Double ?? 1) < 1e-4 })
        let padded = tensors.filter { $0["paddedColumns"] != nil }
        #expect(padded.count == (["mlx", "gguf"].contains(target) ? 96 : 0))
        let files = try #require(report["files"] as? [[String: Any]])
        for file in files {
          let path = try #require(file["path"] as? String)
          let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int
          #expect(file["byteCount"] as? Int == size)
        }
      }
    }
  }

  /// Rows of 60 and 120 elements are written unchanged. Only kernels are dequantized, and these
  /// settings quantize none.
  @Test func matMulNBitsExportNeedsNoPadding() throws {
    try CommandLine.withPackedExample { folder, packed in
      let outcome = try CommandLine.succeed(
        "export", packed, folder.appending("layers.onnx"), "--to", "onnx-matmulnbits",
        "--format", "json")
      let tensors = try #require(
        try CommandLine.json(outcome)["tensors"] as? [[String: Any]])
      let layers = tensors.filter { ($0["form"] as? String)?.hasPrefix("MatMulNBits") == true }
      #expect(layers.count == 96)
      #expect(layers.allSatisfy { ($0["largestError"] as? Double ?? 1) < 1e-6 })
      #expect(tensors.allSatisfy { $0["paddedColumns"] == nil })
    }
  }

  /// Wide codes need integer zero points, which others lack unless they are rounded.
  @Test func integerZeroPointsAreRoundedOnRequest() throws {
    try withTemporaryFolder { folder in
      let sample = try PackageFolder.fixture("export/sample.condi")
      let arguments = ["export", sample, folder.appending("x.onnx"), "--to", "onnx-matmulnbits"]
      let refused = try BuiltProgram().run(arguments)
      #expect(refused.exitCode == 2)
      #expect(
        refused.standardError
          == "condi-convert: \(sample): tensor 'five.weight': MatMulNBits takes 5-bit codes only "
          + "with integer zero points; --integer-zeros rounds them\n")
      let outcome = try BuiltProgram().run(
        arguments + ["--integer-zeros", "--int8-inputs", "--dequantize", "--format", "json"])
      let tensors = try #require(try CommandLine.json(outcome)["tensors"] as? [[String: Any]])
      let eight = try #require(tensors.first { $0["name"] as? String == "eight.weight" })
      #expect(
        eight["form"] as? String
          == "MatMulNBits, 8 bits, blocks of 128, integer zeros, int8 inputs")
      #expect(eight["fidelity"] as? String == "lossy")
    }
  }

  @Test(arguments: ["--integer-zeros", "--int8-inputs"])
  func optionsOfMatMulNBitsAreRefusedForOtherTargets(_ option: String) throws {
    let outcome = try BuiltProgram().run(["export", "a.condi", "b.gguf", option])
    #expect(outcome.exitCode == 64)
    #expect(
      outcome.standardError.hasPrefix(
        "Error: --integer-zeros and --int8-inputs are for onnx-matmulnbits\n"))
  }

  /// Matrices of any codes, and of full precision, are rounded to one type on request.
  @Test(arguments: ["q4_k", "q6_k"])
  func ggufBlocksAreChosenByOption(_ blocks: String) throws {
    try withTemporaryFolder { folder in
      let output = folder.appending("blocks.gguf")
      let outcome = try CommandLine.succeed(
        "export", PackageFolder.fixture("export/sample.condi"), output, "--pad", "--dequantize",
        "--blocks", blocks, "--format", "json")
      let report = try CommandLine.json(outcome)
      let tensors = try #require(report["tensors"] as? [[String: Any]])
      let archive = try FormatRegistry.standard.open(output)
      for tensor in tensors {
        let shape = try #require(tensor["shape"] as? [Int])
        let isRounded = tensor["form"] as? String == blocks.uppercased()
        let isFloat = (tensor["elementType"] as? String)?.contains("float") ?? false
        #expect(isRounded == (shape.count == 2 && isFloat), "\(tensor)")
        #expect(isRounded || tensor["fidelity"] as? String == "exact")
        let name = try #require(tensor["name"] as? String)
        #expect(try archive.tensors[name]?.bytes() != nil)
      }
    }
    let refused = try CommandLine.run("export", "a.condi", "b.onnx", "--blocks", blocks)
    #expect(refused.exitCode == 64)
    #expect(refused.standardError.hasPrefix("Error: --blocks is for gguf\n"))
  }

  @Test(arguments: ["mlx", "gguf"])
  func rowsAreNotPaddedWithoutPadOption(_ target: String) throws {
    try CommandLine.withPackedExample { folder, packed in
      let outcome = try CommandLine.run(
        "export", packed, folder.appending("out"), "--to", target)
      #expect(outcome.exitCode == 2)
      #expect(outcome.standardError.contains("rows of 60 elements are not whole"))
      #expect(outcome.standardError.split(separator: "\n").count == 1)
      #expect(try folder.names() == ["model.condi"])
    }
  }

  /// A model exported for MLX is imported with the same values and row lengths.
  @Test func mlxExportRoundTripsThroughImport() throws {
    try withTemporaryFolder { folder in
      let mlx = folder.appending("mlx")
      try CommandLine.succeed(
        "export", PackageFolder.fixture("export/sample.condi"), mlx, "--to", "mlx", "--pad",
        "--dequantize")
      let back = folder.appending("back.condi")
      let outcome = try CommandLine.succeed("import", mlx, back, "--from", "mlx")
      #expect(outcome.standardOutput.contains("exact tensors  20"))
      let difference = try CommandLine.run(
        "diff", PackageFolder.fixture("export/sample.condi"), back, "--format", "json")
      let report = try CommandLine.json(difference)
      let changed = try #require(report["changed"] as? [[String: Any]])
      // Its elements are float32 now.
      #expect(changed.compactMap { $0["name"] as? String } == ["half.weight"])
      // The notes that the first export left do not prevent a second one.
      try CommandLine.succeed("export", back, folder.appending("again"), "--to", "mlx", "--pad")
    }
  }

  /// Rows of 60 and 120 elements are padded for MLX, and the imported network runs without the
  /// padding.
  @Test func mlxRoundTripUpscalesIdentically() throws {
    try CommandLine.withPackedExample { folder, packed in
      let (mlx, back) = (folder.appending("mlx"), folder.appending("back.condi"))
      try CommandLine.succeed("export", packed, mlx, "--to", "mlx", "--pad")
      try CommandLine.succeed("import", mlx, back, "--from", "mlx")
      let image = try PackageFolder.fixture("images/rgb8.png")
      func upscaled(_ model: String) throws -> Data {
        let output = folder.appending("\((model as NSString).lastPathComponent).png")
        try CommandLine.succeed("upscale", model, image, output, "--quiet")
        return try Data(contentsOf: URL(filePath: output))
      }
      #expect(try upscaled(back) == upscaled(packed))
    }
  }

  @Test func dryRunReportMatchesExport() throws {
    try CommandLine.withPackedExample { folder, packed in
      let output = folder.appending("model.gguf")
      func tensors(_ flag: String) throws -> [NSDictionary] {
        let outcome = try CommandLine.succeed(
          "export", packed, output, "--pad", flag, "--format", "json")
        let report = try CommandLine.json(outcome)
        #expect((report["files"] as? [Any])?.isEmpty == (flag == "--dry-run"))
        return try #require(report["tensors"] as? [NSDictionary])
      }
      let planned = try tensors("--dry-run")
      #expect(try folder.names() == ["model.condi"])
      #expect(try planned == tensors("--force"))
      let refused = try CommandLine.run("export", packed, output, "--dry-run")
      #expect(refused.exitCode == 2)
    }
  }

  @Test func convertPointsToExportForGGUF() throws {
    let outcome = try CommandLine.run("convert", CommandLine.checkpoint, "x.gguf")
    #expect(outcome.exitCode == 64)
    #expect(
      outcome.standardError.hasPrefix(
        "Error: gguf files are written by 'export', from a packed file"))
  }

  @Test func paddingIsAdvisedForPartialBlocks() throws {
    try withTemporaryFolder { folder in
      let outcome = try CommandLine.run(
        "export", PackageFolder.fixture("export/sample.condi"), folder.appending("mlx"), "--to",
        "mlx")
      #expect(outcome.exitCode == 2)
      #expect(outcome.standardError.hasSuffix("in MLX; --pad pads them\n"))
    }
  }

  /// What a network of windows needs, and one that is read back from its file.
  @Test func networksOfCheckpointsAreExported() throws {
    try withTemporaryFolder { folder in
      let output = folder.appending("x.onnx")
      let refused = try CommandLine.run("export", CommandLine.checkpoint, output)
      #expect(refused.exitCode == 2)
      #expect(
        refused.standardError.hasSuffix(
          "attention within windows of this network depends on the size of images, which --size "
            + "gives\n"))
      let small = try CommandLine.run(
        "export", CommandLine.checkpoint, output, "--size", "4x400")
      #expect(small.exitCode == 2)
      #expect(
        small.standardError.hasSuffix("the network does not take images of 400×4 pixels\n"))
      #expect(try folder.names().isEmpty)
      let planned = try CommandLine.succeed(
        "export", CommandLine.checkpoint, output, "--size", "20x12", "--dry-run")
      #expect(planned.standardOutput.contains("operator set 17, which ONNX Runtime 1.13"))
      #expect(try folder.names().isEmpty)
      let outcome = try CommandLine.succeed(
        "export", CommandLine.checkpoint, output, "--size", "20x12", "--format", "json")
      let tensors = try #require(try CommandLine.json(outcome)["tensors"] as? [[String: Any]])
      #expect(tensors.count == 330)
      // The weights in the file are those of the checkpoint.
      let difference = try CommandLine.run(
        "diff", CommandLine.checkpoint, output, "--format", "json")
      let changed = try #require(try CommandLine.json(difference)["changed"] as? [Any])
      #expect(changed.isEmpty)
      let again = try CommandLine.run(
        "export", CommandLine.checkpoint, output, "--size", "20x12")
      #expect(again.exitCode == 2)
    }
  }

  /// A network for ncnn is two files, which run, convert and pack as the checkpoint does.
  @Test func networksAreWrittenForNCNN() throws {
    try withTemporaryFolder { folder in
      let model = try PackageFolder.fixture("ncnn/small.param")
      let (output, weights) = (folder.appending("net.param"), folder.appending("net.bin"))
      try Data([1]).write(to: URL(filePath: weights))
      let refused = try CommandLine.run("export", model, output)
      #expect(refused.exitCode == 2)
      #expect(refused.standardError.contains("net.bin: already exists"))
      #expect(try folder.names() == ["net.bin"])
      let planned = try CommandLine.succeed("export", model, output, "--dry-run")
      #expect(planned.standardOutput.hasPrefix("Planned for ncnn"))
      let outcome = try CommandLine.succeed("export", model, output, "--force")
      #expect(outcome.standardOutput.hasPrefix("Exported for ncnn: \(output)"))
      #expect(try folder.names() == ["net.bin", "net.param"])
      let image = try PackageFolder.fixture("images/rgb8.png")
      func upscaled(_ network: String, _ name: String) throws -> Data {
        let path = folder.appending(name)
        _ = try CommandLine.succeed("upscale", network, image, path)
        return try Data(contentsOf: URL(filePath: path))
      }
      let expected = try upscaled(model, "a.png")
      #expect(try upscaled(output, "b.png") == expected)
      let converted = folder.appending("net.npz")
      _ = try CommandLine.succeed("convert", output, converted)
      #expect(try upscaled(converted, "c.png") == expected)
      let (packed, recipe) = (folder.appending("net.condi"), folder.appending("recipe.json"))
      // These weights are fewer than those that are quantized otherwise.
      try Data(#"{"bits": 8, "rules": [{"match": "*.weight", "action": "quantize"}]}"#.utf8)
        .write(to: URL(filePath: recipe))
      _ = try CommandLine.succeed("convert", output, packed, "--recipe", recipe)
      _ = try upscaled(packed, "d.png")
      let integers = try CommandLine.run("export", packed, output, "--precision", "int8", "--force")
      #expect(integers.exitCode == 2)
      #expect(integers.standardError.contains("int8 needs ranges of activations"))
      try Data([0, 0, 0, 0]).write(to: URL(filePath: weights))
      let damaged = try CommandLine.run("inspect", output)
      #expect(damaged.exitCode == 2)
      #expect(damaged.standardError.contains("net.bin"))
    }
  }

  @Test(arguments: [["--weights"], ["--pad"], ["--size", "12"], ["--size", "0x12"]])
  func optionsOfOtherExportsAreRefused(_ options: [String]) throws {
    let outcome = try BuiltProgram().run(
      ["export", CommandLine.checkpoint, "x.onnx"] + options)
    #expect(outcome.exitCode == 64, "\(outcome.standardError)")
  }

  @Test func filesOfOtherFormatsAreRefused() throws {
    try withTemporaryFolder { folder in
      let outcome = try CommandLine.run(
        "export", CommandLine.checkpoint, folder.appending("x.gguf"))
      #expect(outcome.exitCode == 2)
      #expect(
        outcome.standardError
          == "condi-convert: \(CommandLine.checkpoint): it is not a packed file; 'convert' packs "
          + "checkpoints\n")
      let missing = try CommandLine.run(
        "import", CommandLine.checkpoint, folder.appending("x.condi"), "--from", "mlx")
      #expect(missing.exitCode == 2)
      #expect(
        missing.standardError
          == "condi-convert: \(CommandLine.checkpoint): expected config.json beside it, found "
          + "none; --config names one elsewhere\n")
      #expect(try folder.names().isEmpty)
    }
  }
}
