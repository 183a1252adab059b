import ArgumentParser
import Formats
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

  /// The statistics: read, or made by running the model.
  ///
  /// - Parameters:
  ///   - archive: the weights, not nested.
  ///   - path: of the model.
  ///   - bitWidths: at which quantized inputs are measured in a second run.
  func statistics(
    of archive: TensorArchive, path: String, bitWidths: [Int], search: BoundSearchMethod,
    common: CommonOptions
  ) throws -> Calibration? {
    if let file { return try Calibration(contentsOf: file, access: common.access) }
    guard let images else { return nil }
    return try locatingPictureErrors(path: path) {
      let network = try SuperResolutionNetwork(archive, name: path, threads: common.threads)
      return try NetworkCalibration(
        network: network, pictures: samples.pictures(in: images, for: network), samples: samples,
        bitWidths: bitWidths, search: search, common: common
      ).run()
    }
  }
}

/// A calibration of a network on patches, with a progress bar.
struct NetworkCalibration {
  let network: SuperResolutionNetwork
  let pictures: ReducedPictures
  let samples: SampleOptions
  let bitWidths: [Int]
  let search: BoundSearchMethod
  let common: CommonOptions

  var patchCount: Int { samples.patches ?? 32 }
  var patchSide: Int { samples.patchSize ?? 64 }
  var seed: UInt64 { samples.seed ?? 0 }

  func run() throws -> Calibration {
    var sampler = PatchSampler(pictures, side: patchSide, seed: seed, for: .calibration)
    let source = try NetworkActivations(network: network, pictures: sampler.draw(patchCount))
    let runCount = bitWidths.isEmpty ? 1 : 2
    let bar = ProgressBar(
      "calibrating", total: runCount * patchCount, unit: .share, isQuiet: common.quiet)
    return try Calibrator(bitWidths: bitWidths, search: search, threads: common.threads)
      .calibrate(source) { bar.advance(1) }
  }
}
