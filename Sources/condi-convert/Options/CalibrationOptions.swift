import ArgumentParser
import Formats
import Storage
import Transform

/// Options for the source of activation statistics.
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
      "Run the model on patches of the PNG, JPEG and WebP images of a folder instead.",
      valueName: "folder"), completion: .directory)
  var images: String?

  @OptionGroup(title: "Calibration") var samples: SampleOptions

  var isGiven: Bool { file != nil || images != nil }

  /// The calibration's name in reports.
  var name: String? { file ?? images }

  func validate() throws {
    guard file == nil || images == nil else {
      throw ValidationError("--calibration and --calibration-images cannot be used together")
    }
    guard images != nil || !samples.isGiven else {
      throw ValidationError(
        "--low-resolution, --patches, --patch-size and --seed need --calibration-images")
    }
  }

  /// Returns a recipe's calibration, overridden by these options.
  ///
  /// - Throws: `ModelError` when the recipe is for a calibrated model and no option is given.
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
