import Formats
import Foundation
import Imaging
import SuperResolution
import TestSupport
import Testing
import Transform

/// Calibration statistics from images, and the commands that use them.
@Suite struct CalibrateCommandTests {
  /// Writes a small SwinIR for scale 2 to a file in `folder` and returns its path.
  static func model(_ folder: TemporaryFolder) throws -> String {
    var archive = try FormatRegistry.standard.open(
      PackageFolder.fixture("superresolution/swinir_direct_x2.safetensors"))
    archive.tensors = archive.tensors.filter { !$0.key.hasPrefix("golden.") }
    let path = folder.appending("model.safetensors")
    try FormatRegistry.standard.write(
      archive, as: SafetensorsFormat(), to: path, replacesExisting: true)
    return path
  }

  /// Calls `body` with a folder for results and the path of a folder with two high-resolution
  /// images.
  private func withImages(_ body: (TemporaryFolder, String) throws -> Void) throws {
    try EvaluateCommandTests.withDataSet { folder, set in try body(folder, "\(set)/HR") }
  }

  /// Returns the options for a recipe that quantizes the fixture's layers, which are too small for
  /// the built-in recipes.
  static func recipe(_ folder: TemporaryFolder) throws -> [String] {
    let path = folder.appending("recipe.json")
    let rule = #"{"match": "*.weight", "where": {"rank": 2}, "action": "quantize"}"#
    try Data("{\"bits\": 2, \"rules\": [\(rule)]}".utf8).write(to: URL(filePath: path))
    return ["--recipe", path]
  }

  @Test func blackImagesAreRefused() throws {
    try withTemporaryFolder { folder in
      let images = folder.appending("black")
      try FileManager.default.createDirectory(atPath: images, withIntermediateDirectories: true)
      let black = RasterImage(
        width: 64, height: 64, channelCount: 3, bitDepth: .eight,
        samples: [UInt16](repeating: 0, count: 64 * 64 * 3))
      try Data(black.encoded(as: .png).array).write(to: URL(filePath: "\(images)/a.png"))
      let output = folder.appending("a.calib.npz")
      let outcome = try BuiltProgram().run(
        ["calibrate", Self.model(folder), output, "--images", images, "--quiet"] + Self.small)
      #expect(outcome.exitCode == 2)
      #expect(
        outcome.standardError
          == "condi-convert: \(images): each of the 3 patches drawn from its images is of one colour, on "
          + "which nothing can be measured\n")
      #expect(!FileManager.default.fileExists(atPath: output))
    }
  }

  private static let small = ["--patches", "3", "--patch-size", "16"]

  /// Whether the tensors of two packed files differ in any bit, regardless of their recipes.
  private static func differ(_ first: String, _ second: String, _ folder: TemporaryFolder) throws
    -> Bool
  {
    let outcome = try CommandLine.run("diff", first, second, "--quiet")
    #expect([0, 1].contains(outcome.exitCode), "\(outcome.standardError)")
    return outcome.exitCode == 1
  }

  @Test(Python.require("jsonschema"))
  func calibrationFileGivesSameModelAsImages() throws {
    try withImages { folder, images in
      var files: [Data] = []
      var reports: [String] = []
      for threads in ["1", "2"] {
        let path = folder.appending("\(threads).calib.npz")
        let outcome = try BuiltProgram().run(
          [
            "calibrate", Self.model(folder), path, "--images", images, "--bits", "2", "--threads",
            threads,
            "--format", "json",
          ] + Self.small)
        #expect(outcome.exitCode == 0, "\(outcome.standardError)")
        files.append(try Data(contentsOf: URL(filePath: path)))
        let report = try CommandLine.json(outcome)
        #expect(report["imageCount"] as? Int == 2)
        #expect(report["patchCount"] as? Int == 3)
        reports.append(outcome.standardOutput)
      }
      try Schema.expectValid(reports, "calibration-report")
      #expect(files[0] == files[1])
      let file = folder.appending("1.calib.npz")
      let calibration = try Calibration(contentsOf: file)
      #expect(calibration.sites.values.contains { $0.quantized[2] != nil })
      // A statistics file and the images that it was made from give the same model.
      let (fromFile, fromImages) = (folder.appending("a.condi"), folder.appending("b.condi"))
      let plain = try BuiltProgram().run(
        ["convert", Self.model(folder), fromFile, "--calibration", file, "--quiet"]
          + Self.recipe(folder))
      #expect(plain.exitCode == 0, "\(plain.standardError)")
      let outcome = try BuiltProgram().run(
        [
          "convert", Self.model(folder), fromImages, "--calibration-images",
          images,
          "--minutes", "0", "--quiet",
        ] + Self.small + Self.recipe(folder))
      #expect(outcome.exitCode == 0, "\(outcome.standardError)")
      #expect(try Self.differ(fromFile, fromImages, folder) == false)
      let again = try BuiltProgram().run(
        ["calibrate", Self.model(folder), file, "--images", images, "--quiet"] + Self.small)
      #expect(again.exitCode == 2)
    }
  }

  /// Writes a small network of convolutions to a file in `folder` and returns its path.
  private static func convolutions(_ name: String, _ folder: TemporaryFolder) throws -> String {
    var archive = try FormatRegistry.standard.open(
      PackageFolder.fixture("superresolution/\(name).safetensors"))
    archive.tensors = archive.tensors.filter { !$0.key.hasPrefix("golden.") }
    let path = folder.appending("\(name).safetensors")
    try FormatRegistry.standard.write(
      archive, as: SafetensorsFormat(), to: path, replacesExisting: true)
    return path
  }

  /// A recipe for all convolutions of a network, and its options.
  private static func convolutionRecipe(_ folder: TemporaryFolder) throws -> [String] {
    let path = folder.appending("convolutions.json")
    let rule = #"{"match": "*.weight", "where": {"rank": 4}, "action": "quantize"}"#
    try Data("{\"bits\": 3, \"rules\": [\(rule)]}".utf8).write(to: URL(filePath: path))
    return ["--recipe", path]
  }

  /// Of RLFN, `best` starts where steps of learning find nothing better.
  @Test(arguments: [("compact_x2", "best"), ("rlfn_x2", "2dquant")])
  func convolutionsAreCalibratedQuantizedAndLearned(_ name: String, method: String) throws {
    try withImages { folder, images in
      let model = try Self.convolutions(name, folder)
      let recipe = try Self.convolutionRecipe(folder)
      let conversion = ["--method", method] + recipe
      let file = folder.appending("a.calib.npz")
      let samples = ["--patches", "3", "--patch-size", "24"]
      func run(_ arguments: [String]) throws {
        let outcome = try BuiltProgram().run(arguments + ["--quiet"])
        #expect(outcome.exitCode == 0, "\(outcome.standardError)")
      }
      try run(
        ["calibrate", model, file, "--images", images, "--bits", "3"] + samples + recipe)
      let calibration = try Calibration(contentsOf: file)
      let (fromFile, learned) = (folder.appending("a.condi"), folder.appending("b.condi"))
      try run(["convert", model, fromFile, "--calibration", file] + conversion)
      try run(
        ["convert", model, learned, "--calibration-images", images, "--steps", "2"] + samples
          + conversion)
      for path in [fromFile, learned] {
        let packed = try FormatRegistry.standard.open(path)
        let weights = packed.tensors.filter { $0.value.quantized != nil }
        #expect(!weights.isEmpty && weights.allSatisfy { $0.value.shape.rank == 4 })
        #expect(packed.activations.map(\.name) == Array(calibration.sites.keys))
        #expect(packed.activations.count == weights.count)
        try run(["verify", path, "--reference", model])
        let network = try SuperResolutionNetwork(packed, name: "packed", threads: 1)
        // Those of groups of 16 values are faster in floating point.
        #expect(network.integerLayerCount == (method == "best" ? 0 : weights.count))
      }
      #expect(try Self.differ(fromFile, learned, folder))
    }
  }

  /// Of a transformer's convolutions, only those are recorded that a recipe quantizes.
  @Test func convolutionsAreRecordedWhereRecipeQuantizesThem() throws {
    try withImages { folder, images in
      let model = try Self.model(folder)
      func sites(_ recipe: [String]) throws -> [String] {
        let file = folder.appending("a.calib.npz")
        let outcome = try BuiltProgram().run(
          ["calibrate", model, file, "--images", images, "--quiet", "--force"] + Self.small
            + recipe)
        #expect(outcome.exitCode == 0, "\(outcome.standardError)")
        return try Array(Calibration(contentsOf: file).sites.keys)
      }
      let usual = try sites([])
      #expect(!usual.contains("conv_first.input") && usual.count > 20)
      let all = try sites(Self.convolutionRecipe(folder))
      #expect(all.contains("conv_first.input"))
      #expect(all.filter(Set(usual).contains) == usual)
    }
  }

  @Test func networkWithoutAnythingToQuantizeIsRefused() throws {
    try withImages { folder, images in
      let model = try Self.convolutions("compact_x2", folder)
      let outcome = try BuiltProgram().run(
        ["calibrate", model, folder.appending("a.calib.npz"), "--images", images, "--quiet"])
      #expect(outcome.exitCode == 2)
      #expect(
        outcome.standardError
          == "condi-convert: \(model): there is nothing to calibrate: the network has no linear "
          + "layers, and the recipe quantizes no convolution whose weight is one tensor\n")
    }
  }

  /// The granularity of activation ranges at each site, by default for a method and as requested.
  @Test(
    arguments: [
      (["--method", "dobi"], .tensor), (["--method", "best"], .group(16)),
      (["--method", "dobi", "--activation-scaling", "row"], .row),
      (["--method", "dobi", "--activation-scaling", "group:8"], .group(8)),
      (["--method", "best", "--activation-scaling", "tensor"], .tensor),
      (["--method", "best", "--activation-scaling", "row"], .row),
    ] as [([String], ActivationScaling)])
  func activationScalingFollowsOptions(_ options: [String], scaling: ActivationScaling) throws {
    try withImages { folder, images in
      let packed = folder.appending("a.condi")
      let outcome = try BuiltProgram().run(
        [
          "convert", Self.model(folder), packed, "--calibration-images", images, "--minutes",
          "0", "--quiet",
        ] + Self.small + Self.recipe(folder) + options)
      #expect(outcome.exitCode == 0, "\(outcome.standardError)")
      let activations = try FormatRegistry.standard.open(packed).activations
      #expect(activations.count > 10)
      for activation in activations {
        let expected: ActivationScaling =
          switch activation.name.split(separator: ".").last {
          case "input": scaling
          case "probabilities": scaling == .tensor ? .tensor : .row
          // One range per head of 6 channels; values are summed over tokens.
          case "query", "key": scaling.groupSize == nil ? .tensor : .group(6)
          default: .tensor
          }
        #expect(activation.scaling == expected, "\(activation.name)")
      }
      // The stored recipe records the scaling only where it differs from the method's default.
      let header = try CommandLine.succeed("inspect", packed, "--raw-header").standardOutput
      #expect(header.contains("activationScaling") == (options.count > 2))
    }
  }

  @Test(arguments: ["2dquant", "best"])
  func distillationDoesNotDependOnThreadCount(_ method: String) throws {
    try withImages { folder, images in
      func convert(_ name: String, _ arguments: String...) throws -> Data {
        let path = folder.appending(name)
        let outcome = try BuiltProgram().run(
          [
            "convert", Self.model(folder), path, "--method", method,
            "--calibration-images", images, "--quiet",
          ] + Self.small + Self.recipe(folder) + arguments)
        #expect(outcome.exitCode == 0, "\(outcome.standardError)")
        return try Data(contentsOf: URL(filePath: path))
      }
      let one = try convert("1.condi", "--steps", "24", "--threads", "1")
      #expect(try convert("2.condi", "--steps", "24", "--threads", "2") == one)
      #expect(try convert("seed.condi", "--steps", "24", "--seed", "7") != one)
      try CommandLine.succeed(
        "verify", folder.appending("1.condi"), "--reference", Self.model(folder), "--quiet")
      try CommandLine.succeed(
        "evaluate", folder.appending("1.condi"), "--dataset", images, "--quiet")
    }
  }

  /// A distilled file can be reproduced, but only from the same images.
  @Test(Python.require("jsonschema")) func distilledFileIsReproducedFromSameImages() throws {
    try withImages { folder, images in
      let model = try Self.model(folder)
      let (packed, state) = (folder.appending("a.condi"), folder.appending("a.state"))
      func convert(_ arguments: String...) throws -> BuiltProgram.Outcome {
        try BuiltProgram().run(
          ["convert", model, packed, "--calibration-images", images, "--format", "json"]
            + Self.small + Self.recipe(folder) + arguments)
      }
      let converted = try convert("--steps", "9", "--checkpoint", state)
      #expect(converted.exitCode == 0, "\(converted.standardError)")
      try Schema.expectValid([converted.standardOutput], "packing-report")
      let distillation = try #require(
        try CommandLine.json(converted)["distillation"] as? [String: Any])
      #expect(distillation["stepCount"] as? Int == 9)

      let verify = ["verify", packed, "--reference", model, "--reproduce", "--quiet"]
      let again = try BuiltProgram().run(verify + ["--calibration-images", images])
      #expect(again.exitCode == 0, "\(again.standardOutput)\(again.standardError)")
      func refused(_ reason: String, _ arguments: [String] = []) throws {
        let outcome = try BuiltProgram().run(verify + arguments)
        #expect(outcome.exitCode == 2)
        #expect(outcome.standardError.hasSuffix("\(reason)\n"), "\(outcome.standardError)")
      }
      try refused("it was calibrated; the same images are needed")
      let others = folder.appending("others")
      try FileManager.default.createDirectory(atPath: others, withIntermediateDirectories: true)
      try FileManager.default.copyItem(
        atPath: PackageFolder.fixture("images/metric_3.png"), toPath: "\(others)/a.png")
      let foreign = try BuiltProgram().run(verify + ["--calibration-images", others])
      #expect(foreign.exitCode == 2)
      #expect(
        foreign.standardError.contains("the recipe is for other images: their SHA-256 is "))

      // A finished checkpoint gives the same result at once; another batch size is another
      // distillation.
      let bytes = try Data(contentsOf: URL(filePath: packed))
      let resumed = try convert("--steps", "9", "--checkpoint", state, "--force")
      #expect(resumed.exitCode == 0, "\(resumed.standardError)")
      #expect(try Data(contentsOf: URL(filePath: packed)) == bytes)
      let other = try convert("--steps", "9", "--batch", "3", "--checkpoint", state, "--force")
      #expect(other.exitCode == 2)
      #expect(
        other.standardError
          == "condi-convert: \(state): it is the checkpoint of another distillation: the batch was "
          + "4, but is 3\n")
      #expect(try Data(contentsOf: URL(filePath: packed)) == bytes)

      let byTheClock = try convert("--minutes", "0.001", "--force")
      #expect(byTheClock.exitCode == 0, "\(byTheClock.standardError)")
      try refused(
        "it was distilled for 0.001 minutes of elapsed time, which cannot be reproduced; a number "
          + "of steps can", ["--calibration-images", images])
    }
  }

  @Test func conditionAcceptsImages() throws {
    try withImages { folder, images in
      let outcome = try BuiltProgram().run(
        [
          "condition", Self.model(folder), folder.appending("a.safetensors"),
          "--calibration-images",
          images, "--iterations", "2", "--format", "json",
        ] + Self.small + Self.recipe(folder))
      #expect(outcome.exitCode == 0, "\(outcome.standardError)")
      let matrices = try #require(try CommandLine.json(outcome)["matrices"] as? [[String: Any]])
      #expect(matrices.contains { $0["isCalibrated"] as? Bool == true })
    }
  }

  @Test func errorsNameFolderOrModel() throws {
    try withTemporaryFolder { folder in
      let empty = folder.appending("empty")
      try FileManager.default.createDirectory(
        atPath: empty, withIntermediateDirectories: true)
      let output = folder.appending("a.calib.npz")
      let packed = folder.appending("a.condi")
      for arguments in [
        ["calibrate", try Self.model(folder), output, "--images", empty],
        ["convert", try Self.model(folder), packed, "--calibration-images", empty],
      ] {
        let outcome = try BuiltProgram().run(arguments)
        #expect(outcome.exitCode == 2)
        #expect(
          outcome.standardError
            == "condi-convert: \(empty): there is no PNG, JPEG or WebP file in it\n")
      }
      let foreign = try PackageFolder.fixture("npz/stored.npz")
      for arguments in [
        ["calibrate", foreign, output, "--images", empty],
        ["convert", foreign, packed, "--calibration-images", empty],
      ] {
        let outcome = try BuiltProgram().run(arguments)
        #expect(outcome.exitCode == 2)
        #expect(
          outcome.standardError.hasPrefix(
            "condi-convert: \(foreign): not a network that can be run: the closest is "),
          "\(outcome.standardError)")
      }
      #expect(!FileManager.default.fileExists(atPath: output))
      #expect(!FileManager.default.fileExists(atPath: packed))
    }
  }

  @Test(arguments: [
    ["--seed", "1"], ["--calibration", "a.npz", "--calibration-images", "b"], ["--steps", "3"],
    ["--calibration-images", "b", "--steps", "3", "--minutes", "1"],
    ["--calibration-images", "b", "--patch-size", "4"],
    ["--calibration-images", "b", "--minutes", "-1"],
    ["--calibration-images", "b", "--patience", "0"], ["--checkpoint", "c"],
    ["--calibration-images", "b", "--steps", "0", "--checkpoint", "c"],
    ["--calibration-images", "b", "--method", "dobi", "--validation", "c"],
    ["--calibration-images", "b", "--method", "dobi", "--steps", "1"],
    ["--calibration-images", "b", "--method", "minmax", "--minutes", "1"],
    ["--activation-scaling", "row"], ["--calibration", "a.npz", "--activation-scaling", "column"],
    ["--calibration", "a.npz", "--activation-scaling", "group:1"],
  ]) func wrongUsageIsRefused(_ arguments: [String]) throws {
    let outcome = try BuiltProgram().run(
      ["convert", CommandLine.checkpoint, "/nonexistent/a.condi"] + arguments)
    #expect(outcome.exitCode == 64, "\(outcome.standardError)")
  }

  @Test func helpListsTheOptions() throws {
    let convert = try CommandLine.succeed("convert", "--help").standardOutput
    for option in [
      "--calibration-images", "--minutes", "--steps", "--batch", "--seed", "--patches",
      "--patch-size", "--low-resolution", "--validation", "--patience", "--checkpoint",
      "--activation-scaling",
    ] { #expect(convert.contains(option), "\(option)") }
    let calibrate = try CommandLine.succeed("calibrate", "--help").standardOutput
    for option in ["--images", "--bits", "--search", "--activation-scaling", "--seed", "--force"] {
      #expect(calibrate.contains(option), "\(option)")
    }
  }
}
