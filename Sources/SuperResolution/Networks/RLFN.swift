import Storage

/// RLFN (Kong et al. 2022, "Residual Local Feature Network for Efficient Super-Resolution").
enum RLFN: NetworkDescription {
  static let name = "RLFN"
  static let landmarks = [".esa.", ".c5."]

  static func describe(_ build: inout NetworkBuilder) throws -> NetworkTraits {
    let first = try build.dimensions(of: "conv_1.weight", rank: 4)
    let image = build.image(channels: first[1])
    let shallow = try build.convolution(image, "conv_1")
    var x = shallow
    let count = build.blockCount(probe: "c1_r.weight")
    for block in 1...max(1, count) { x = try self.block(x, "block_\(block)", &build) }
    x = build.add(try build.convolution(x, "conv_2", outputs: shallow.channels), shallow)
    let scale = try build.squareFactor(of: "upsampler.0", outputs: image.channels)
    let output = build.pixelShuffle(try build.convolution(x, "upsampler.0", side: 3), scale)
    return NetworkTraits(
      output: output, scale: scale,
      range: PixelRange(unshifted: image.channels, range: 255),
      configuration: "\(shallow.channels) channels, \(counted(count, "block"))")
  }

  private static func block(
    _ x: NetworkGraph.Value, _ name: String, _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    var made = x
    for part in ["c1_r", "c2_r", "c3_r"] {
      made = build.apply(
        .leakyReLU(slope: 0.05), to: try build.convolution(made, "\(name).\(part)", side: 3))
    }
    made = try build.convolution(build.add(made, x), "\(name).c5", side: 1)
    return try build.spatialAttention(made, "\(name).esa")
  }
}
