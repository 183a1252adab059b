/// SRVGGNetCompact (Wang et al. 2021, "Real-ESRGAN"), a chain of convolutions whose result is added
/// to the image with its pixels repeated.
enum SRVGGNet: NetworkDescription {
  static let name = "SRVGGNetCompact"
  static let landmarks: [String] = []

  static func describe(_ build: inout NetworkBuilder) throws -> NetworkTraits {
    let first = try build.dimensions(of: "body.0.weight", rank: 4)
    let image = build.image(channels: first[1])
    var x = image
    var index = 0
    while build.contains("body.\(index + 1).weight") {
      x = try build.convolution(x, "body.\(index)", outputs: first[0], side: 3)
      x = try build.parametricReLU(x, "body.\(index + 1)")
      index += 2
    }
    let scale = try build.squareFactor(of: "body.\(index)", outputs: image.channels)
    x = try build.convolution(x, "body.\(index)", side: 3)
    x = build.pixelShuffle(x, scale)
    let output = build.add(x, build.nearest(image, scale))
    return NetworkTraits(
      output: output, scale: scale, range: PixelRange(unshifted: image.channels),
      configuration: "\(first[0]) channels, \(index / 2 + 1) convolutions")
  }
}
