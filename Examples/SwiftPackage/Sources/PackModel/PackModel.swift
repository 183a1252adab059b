import Formats
import Transform

/// Packs a super-resolution model at two bits, calibrated on the images of a folder.
@main
struct PackModel {
  static func main() throws {
    let arguments = CommandLine.arguments
    guard arguments.count == 4 else { fatalError("usage: PackModel CHECKPOINT IMAGES OUT.condi") }
    // Few patches and steps, to be quick; without them, the result is a better one.
    let recipe = Recipe.calibrated(
      bitWidth: 2, patches: .init(count: 4, side: 32), learningFor: .steps(2))
    let archive = try FormatRegistry.standard.open(arguments[1])
    var compressor = try Compressor(archive, recipe: recipe, threads: 2)
    try compressor.calibrate(with: .images(arguments[2]))
    let outcome = try compressor.write(to: arguments[3])
    print("\(outcome.layers.count) weights in \(outcome.summary.fileByteCount) bytes")
  }
}
