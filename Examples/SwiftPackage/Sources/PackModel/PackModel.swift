import Formats
import Transform

/// Packs a super-resolution model at two bits, calibrated on the images of a folder.
@main
struct PackModel {
  static func main() throws {
    let arguments = CommandLine.arguments
    guard arguments.count == 4 else { fatalError("usage: PackModel CHECKPOINT IMAGES OUT.condi") }
    var compressor = try Compressor(
      FormatRegistry.standard.open(arguments[1]),
      recipe: .calibrated(bitWidth: 2, learningFor: .steps(10)), threads: 2)
    try compressor.calibrate(with: .images(arguments[2]))
    let outcome = try compressor.write(to: arguments[3])
    print("\(outcome.layers.count) weights in \(outcome.summary.fileByteCount) bytes")
  }
}
