import ArgumentParser
import Formats
import Imaging
import Storage
import SuperResolution
import Transform

/// Where statistics of activations come from.
struct CalibrationOptions: ParsableArguments {
  @Option(
    name: .customLong("calibration"),
    help: ArgumentHelp(
      "Statistics of the activations (.calib.npz), from 'calibrate' or the PyTorch recorder.",
      valueName: "file"), completion: .file())
  var file: String?

  @Option(
    name: .customLong("calibration-images"),
    help: ArgumentHelp(
      "Run the model on patches of the PNG and JPEG pictures of a folder instead.",
      valueName: "folder"), completion: .directory)
  var images: String?

  @OptionGroup var samples: SampleOptions

  var isGiven: Bool { file != nil || images != nil }

  /// What reports call the calibration.
  var name: String? { file ?? images }

  func validate() throws {
    guard file == nil || images == nil else {
      throw ValidationError("--calibration and --calibration-images exclude one another")
    }
    guard images != nil || !samples.isGiven else {
      throw ValidationError(
        "--already-small, --patches, --patch-size and --seed need --calibration-images")
    }
  }

  /// What a recipe says of the calibration, with what is given here in its place.
  ///
  /// - Throws: `ModelError` when the recipe is for a calibrated model and nothing is given.
  func applied(to recipe: CalibrationRecipe?) throws -> CalibrationRecipe? {
    guard isGiven else {
      guard recipe != nil else { return nil }
      throw ModelError(
        "the recipe is for a calibrated model; give --calibration or "
          + "--calibration-images")
    }
    return CalibrationRecipe(
      patches: images == nil ? nil : samples.applied(to: recipe?.patches ?? .init()),
      digest: recipe?.digest)
  }
}

/// A calibration of a network on patches, with a progress bar.
struct NetworkCalibration {
  var network: SuperResolutionNetwork
  let pictures: ReducedPictures
  let patches: CalibrationRecipe.Patches
  /// At which quantized inputs are measured in a second run.
  var bitWidths: [Int]
  let search: BoundSearchMethod
  let scaling: ActivationScaling
  let common: CommonOptions

  func run() throws -> Calibration {
    var sampler = PatchSampler(
      pictures, side: patches.side, seed: patches.seed, for: .calibration)
    let source = try NetworkActivations(
      network: network, pictures: sampler.drawVaried(patches.count))
    let runCount = bitWidths.isEmpty ? 1 : 2
    let bar = ProgressBar(
      "calibrating", total: runCount * patches.count, unit: .share, isQuiet: common.quiet)
    return try Calibrator(
      bitWidths: bitWidths, search: search, scaling: scaling, threads: common.threads
    ).calibrate(source) { bar.advance(1) }
  }
}
