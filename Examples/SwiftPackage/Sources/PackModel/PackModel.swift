import Formats
import Transform

/// Quantizes a checkpoint to three bits and packs it.
@main
struct PackModel {
  static func main() throws {
    guard CommandLine.arguments.count == 3 else {
      fatalError("usage: PackModel CHECKPOINT OUT.condi")
    }
    var archive = try FormatRegistry.standard.open(CommandLine.arguments[1])
    let root = archive.conventionalRoot
    if let root { archive = try archive.selecting(root: root) }
    var recipe = try Recipe.named("body-linear")
    recipe.defaults.bitWidth = 3
    let packer = try ModelPacker(
      archive, recipe: recipe, source: PackedHeader.Source(archive, root: root), threads: 2)
    let (layers, summary) = try packer.write(to: CommandLine.arguments[2])
    let noise = layers.compactMap(\.signalToQuantizationNoise).min() ?? .infinity
    print("\(layers.count) weights in \(summary.fileByteCount) bytes, each at least \(noise) dB")
  }
}
