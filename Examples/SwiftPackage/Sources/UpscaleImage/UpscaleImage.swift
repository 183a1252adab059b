import Formats
import Imaging
import Storage
import SuperResolution

/// Upscales an image with a super-resolution model, full-precision or packed.
@main
struct UpscaleImage {
  static func main() throws {
    let arguments = CommandLine.arguments.dropFirst()
    guard arguments.count == 3, let path = arguments.first, let output = arguments.last else {
      fatalError("usage: UpscaleImage MODEL IMAGE OUT.png")
    }
    var archive = try FormatRegistry.standard.open(path)
    if let root = archive.conventionalRoot { archive = try archive.selecting(root: root) }
    let network = try SuperResolutionNetwork(archive, name: path, threads: 2)
    let image = try RasterImage(contentsOf: CommandLine.arguments[2])
    let result = try RasterUpscaling(network).upscale(image)
    var writer = try AtomicFileWriter(path: output)
    try writer.append(result.encoded(as: .png))
    try writer.finish()
    print("\(image.sizeText) became \(result.sizeText)")
  }
}
