import ArgumentParser
import SuperResolution
import Transform

/// How patches are taken from the images of a folder.
struct SampleOptions: ParsableArguments {
  private typealias Patches = CalibrationRecipe.Patches

  @Flag(help: "The images are of low resolution and used as they are, not downscaled first.")
  var lowResolution = false

  @Option(
    help: ArgumentHelp("Patches to calibrate on (\(Patches.standardCount)).", valueName: "n"))
  var patches: Int?

  @Option(
    help: ArgumentHelp(
      "Pixels of their sides, before upscaling (\(Patches.standardSide)).", valueName: "n"))
  var patchSize: Int?

  @Option(help: ArgumentHelp("What the places of patches are drawn by (0).", valueName: "n"))
  var seed: UInt64?

  var isGiven: Bool { lowResolution || patches != nil || patchSize != nil || seed != nil }

  func validate() throws {
    if let patches, !(1...10_000).contains(patches) {
      throw ValidationError("--patches takes a number from 1 to 10000")
    }
    if let patchSize, !(8...512).contains(patchSize) {
      throw ValidationError("--patch-size takes a number from 8 to 512")
    }
    if let seed, seed > Int.max {
      throw ValidationError("--seed takes a number from 0 to \(Int.max)")
    }
  }

  /// Returns `patches` overridden by these options.
  func applied(
    to patches: CalibrationRecipe.Patches = CalibrationRecipe.Patches()
  ) -> CalibrationRecipe.Patches {
    CalibrationRecipe.Patches(
      count: self.patches ?? patches.count, side: patchSize ?? patches.side,
      seed: seed ?? patches.seed, isLowResolution: lowResolution || patches.isLowResolution)
  }
}
