import ArgumentParser
import Formats
import Storage
import Transform

/// Options for the distillation of a quantized model from the full-precision one.
struct DistillationOptions: ParsableArguments {
  private static let standardMinutes = 2.0

  @Option(
    help: ArgumentHelp(
      "Distil for so many minutes after quantizing (2 with --calibration-images); 0 for not at "
        + "all.", valueName: "n"))
  var minutes: Double?

  @Option(
    help: ArgumentHelp(
      "Distil for so many steps instead: the result is then the same everywhere.", valueName: "n"))
  var steps: Int?

  @Option(
    help: ArgumentHelp(
      "Patches of a step (\(DistillationRecipe.standardBatchCount)).", valueName: "n"))
  var batch: Int?

  @Option(
    help: ArgumentHelp(
      "Compare with the model in full precision on patches of these images, not on other patches "
        + "of those that are learned from.", valueName: "folder"))
  var validation: String?

  @Option(
    help: ArgumentHelp(
      "End early after so many comparisons in a row without a gain, of eight in all; what did best "
        + "is kept in any case.", valueName: "n"))
  var patience: Int?

  @Option(
    help: ArgumentHelp(
      "Keep the state of the distillation in this file, and go on from it if it is there.",
      valueName: "file"))
  var checkpoint: String?

  var isGiven: Bool {
    minutes != nil || steps != nil || batch != nil || validation != nil || patience != nil
      || checkpoint != nil
  }

  func validate() throws {
    if let minutes, !(minutes >= 0 && minutes <= 1e6) {
      throw ValidationError("--minutes takes a number from 0 to 1000000")
    }
    if let steps, !(0...10_000_000).contains(steps) {
      throw ValidationError("--steps takes a number from 0 to 10000000")
    }
    guard minutes == nil || steps == nil else {
      throw ValidationError("--minutes and --steps cannot be used together")
    }
    if let batch, !(1...1024).contains(batch) {
      throw ValidationError("--batch takes a number from 1 to 1024")
    }
    if let patience, !(1...1000).contains(patience) {
      throw ValidationError("--patience takes a number from 1 to 1000")
    }
  }

  /// What a recipe says of distillation, with what is given here in its place; `nil` for none, as
  /// without images or time, or for a method that does not distil.
  ///
  /// - Parameter patches: how the model is calibrated; `nil` without images.
  /// - Throws: `ModelError` when the recipe distils and there are no images;
  ///   `ValidationError` for options that would do nothing.
  func applied(
    to recipe: DistillationRecipe?, method: QuantizationMethod,
    patches: CalibrationRecipe.Patches?
  ) throws -> DistillationRecipe? {
    guard let patches else {
      guard recipe == nil else {
        throw ModelError("the recipe distils, which requires --calibration-images")
      }
      return nil
    }
    let limit: DistillationRecipe.Limit =
      steps.map { .steps($0) } ?? minutes.map { .minutes($0) } ?? recipe?.limit
      ?? .minutes(Self.standardMinutes)
    guard method.distills, limit != .steps(0), limit != .minutes(0) else {
      guard method.distills || (steps ?? 0) == 0 && (minutes ?? 0) == 0 else {
        throw ValidationError(
          "the method '\(method.rawValue)' learns nothing in --steps or --minutes")
      }
      guard validation == nil, patience == nil, checkpoint == nil else {
        throw ValidationError(
          "--validation, --patience and --checkpoint need distillation, but there is none")
      }
      return nil
    }
    return DistillationRecipe(
      limit: limit,
      batchCount: batch ?? recipe?.batchCount ?? DistillationRecipe.standardBatchCount,
      patchSide: recipe?.patchSide ?? min(DistillationRecipe.standardPatchSide, patches.side),
      seed: patches.seed, patience: patience ?? recipe?.patience,
      validationDigest: recipe?.validationDigest)
  }
}
