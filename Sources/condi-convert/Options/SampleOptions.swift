import ArgumentParser
import SuperResolution

/// How patches are taken from the pictures of a folder.
struct SampleOptions: ParsableArguments {
  @Flag(help: "The pictures are small already: what the model enlarges, not originals.")
  var alreadySmall = false

  @Option(help: ArgumentHelp("Patches to calibrate on (32).", valueName: "n"))
  var patches: Int?

  @Option(help: ArgumentHelp("Pixels of their sides, before enlargement (64).", valueName: "n"))
  var patchSize: Int?

  @Option(help: ArgumentHelp("What the places of patches are drawn by (0).", valueName: "n"))
  var seed: UInt64?

  var isGiven: Bool { alreadySmall || patches != nil || patchSize != nil || seed != nil }

  func validate() throws {
    if let patches, !(1...10_000).contains(patches) {
      throw ValidationError("--patches takes a number from 1 to 10000")
    }
    if let patchSize, !(8...512).contains(patchSize) {
      throw ValidationError("--patch-size takes a number from 8 to 512")
    }
  }

  /// The small pictures of a folder, for a network.
  func pictures(in folder: String, for network: SuperResolutionNetwork) throws -> ReducedPictures {
    try ReducedPictures(
      folder: folder, scale: network.scale, channelCount: network.channelCount,
      isSmall: alreadySmall)
  }
}
