import ArgumentParser
import Storage
import Transform

/// The material that a packed file was calibrated and distilled with, to make it again.
struct ReproductionOptions: ParsableArguments {
  @Option(
    name: .customLong("calibration"),
    help: ArgumentHelp(
      "The statistics that the file was quantized with.", valueName: "file"),
    completion: .file())
  var statistics: String?

  @Option(
    help: ArgumentHelp(
      "The images that it was calibrated and distilled with.", valueName: "folder"),
    completion: .directory)
  var calibrationImages: String?

  @Option(
    help: ArgumentHelp(
      "The images that its distillation was compared on.", valueName: "folder"),
    completion: .directory)
  var validation: String?

  var isGiven: Bool { (statistics ?? calibrationImages ?? validation) != nil }

  func validate() throws {
    guard statistics == nil || calibrationImages == nil else {
      throw ValidationError("--calibration and --calibration-images cannot be used together")
    }
  }

  func material(_ common: CommonOptions) -> Compressor.Material {
    Compressor.Material(
      statistics: statistics, images: calibrationImages, validation: validation,
      access: common.access)
  }
}
