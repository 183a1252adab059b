import ArgumentParser
import Formats
import Foundation
import SuperResolution
import Transform

/// How long a quantized model learns from the model in full precision.
struct DistillationOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Distil for so many minutes after quantizing (2 with --calibration-images); 0 for not at "
        + "all.", valueName: "n"))
  var minutes: Double?

  @Option(
    help: ArgumentHelp(
      "Distil for so many steps instead: the result is then the same everywhere.", valueName: "n"))
  var steps: Int?

  @Option(help: ArgumentHelp("Patches of a step (4).", valueName: "n"))
  var batch: Int?

  var isGiven: Bool { minutes != nil || steps != nil || batch != nil }

  func validate() throws {
    if let minutes, !(minutes >= 0 && minutes <= 1e6) {
      throw ValidationError("--minutes takes a number from 0 to 1000000")
    }
    if let steps, !(0...10_000_000).contains(steps) {
      throw ValidationError("--steps takes a number from 0 to 10000000")
    }
    guard minutes == nil || steps == nil else {
      throw ValidationError("--minutes and --steps exclude one another")
    }
    if let batch, !(1...1024).contains(batch) {
      throw ValidationError("--batch takes a number from 1 to 1024")
    }
  }

  private var limit: DistillationSettings.Limit? {
    if let steps { return steps > 0 ? .steps(steps) : nil }
    let minutes = minutes ?? 2
    return minutes > 0 ? .seconds(60 * minutes) : nil
  }

  /// What distils, on other patches of the pictures that the model is calibrated with; `nil` without
  /// pictures or time, or for a method that does not distil.
  ///
  /// - Parameters:
  ///   - archive: the weights, not nested.
  ///   - path: of the model.
  func refiner(
    _ method: QuantizationMethod, _ archive: TensorArchive, path: String,
    calibration: CalibrationOptions, common: CommonOptions
  ) throws -> DistillationRefiner? {
    guard method.distills, let limit, let folder = calibration.images else { return nil }
    var settings = DistillationSettings(for: method, limit: limit, threads: common.threads)
    settings.seed = calibration.samples.seed ?? 0
    if let batch { settings.batchCount = batch }
    if let side = calibration.samples.patchSize {
      settings.patchSide = min(settings.patchSide, side)
    }
    let pictures = try locatingPictureErrors(path: path) {
      try calibration.samples.pictures(
        in: folder, for: SuperResolutionNetwork(archive, name: path, threads: common.threads))
    }
    let bar = ShareProgress("distilling", isQuiet: common.quiet)
    return DistillationRefiner(settings, pictures: pictures) { progress in
      bar.report(
        progress.share,
        detail: "step \(progress.stepCount), loss \(Self.text(progress.loss))")
    } completion: { outcome in
      Console.note(
        "distilled in \(outcome.stepCount) steps: mean error \(Self.text(outcome.errorBefore)) "
          + "before, \(Self.text(outcome.errorAfter)) after, on patches not learned from",
        unless: common.quiet)
    }
  }

  private static func text(_ value: Double) -> String {
    value == 0 ? "0" : String(format: "%.4g", value)
  }
}
