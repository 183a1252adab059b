import Storage

/// MoSR (umzi 2024), gated blocks of convolutions, with any of its three ways to upscale.
enum MoSR: NetworkDescription {
  static let name = "MoSR"
  static let landmarks = ["gblocks.", "shortcut.conv11."]

  static func describe(_ build: inout NetworkBuilder) throws -> NetworkTraits {
    let first = try build.dimensions(of: "gblocks.0.weight", rank: 4)
    let image = build.image(channels: first[1])
    var x = try build.convolution(image, "gblocks.0", side: 3)
    var blocks = 0
    while build.contains("gblocks.\(blocks + 1).fc1.weight") {
      blocks += 1
      x = try block(x, "gblocks.\(blocks)", &build)
    }
    x = build.apply(.mish, to: try build.convolution(x, "gblocks.\(blocks + 1)", side: 3))
    x = build.apply(.mish, to: try build.convolution(x, "gblocks.\(blocks + 3)", side: 3))
    x = try build.convolution(x, "gblocks.\(blocks + 5)", outputs: first[0], side: 1)

    var short = build.apply(
      .mish, to: try build.convolution(image, "shortcut.block.0", side: 3))
    short = build.apply(
      .mish, to: try build.convolution(short, "shortcut.block.2", outputs: first[0], side: 3))
    short = build.add(
      short, try build.convolution(image, "shortcut.conv11", outputs: first[0], side: 1))
    x = build.add(build.apply(.offset(-0.5), to: short), x)
    let (output, scale, upsampling) = try upsample(x, image, &build)
    return NetworkTraits(
      output: output, scale: scale, range: PixelRange(unshifted: image.channels),
      configuration: "\(first[0]) channels, \(counted(blocks, "block")), \(upsampling)")
  }

  private static func block(
    _ x: NetworkGraph.Value, _ name: String, _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    let parts = try build.convolution(
      build.normalizePixels(x, "\(name).norm", epsilon: 1e-6), "\(name).fc1", side: 3)
    let half = parts.channels / 2
    let filtered = try build.dimensions(of: "\(name).conv.weight", rank: 4)[0]
    guard filtered <= half else {
      throw WeightMismatch(
        tensor: "\(name).conv.weight",
        problem: "has \(counted(filtered, "channel")), more than the \(half) of its input")
    }
    let gate = build.apply(.mish, to: build.channels(0..<half, of: parts))
    let convolved = try build.convolution(
      build.channels(2 * half - filtered..<2 * half, of: parts), "\(name).conv",
      outputs: filtered, groups: filtered)
    let beside =
      filtered == half
      ? convolved
      : build.concatenate(build.channels(half..<2 * half - filtered, of: parts), convolved)
    let mixed = try build.convolution(
      build.multiply(gate, beside), "\(name).fc2",
      outputs: x.channels, side: 3)
    return build.add(build.apply(.mish, to: mixed), build.apply(.offset(-0.5), to: x))
  }

  private static func upsample(
    _ x: NetworkGraph.Value, _ image: NetworkGraph.Value, _ build: inout NetworkBuilder
  ) throws -> (output: NetworkGraph.Value, scale: Int, name: String) {
    let name = "upsampler"
    if build.contains("\(name).init_pos") {
      let count = try build.dimensions(of: "\(name).offset.weight", rank: 4)[0]
      guard let scale = (1...8).first(where: { 8 * $0 * $0 == count }) else {
        throw WeightMismatch(
          tensor: "\(name).offset.weight",
          problem: "has \(counted(count, "output")), expected 8 times a square up to 64")
      }
      let output = try build.dynamicSample(
        x, name, factor: scale, groups: 4, outputs: image.channels)
      return (output, scale, "dynamic upsampling")
    }
    guard build.contains("\(name).in_to_k.weight") else {
      let scale = try build.squareFactor(of: "\(name).0", outputs: image.channels)
      let output = build.pixelShuffle(try build.convolution(x, "\(name).0", side: 3), scale)
      return (output, scale, "pixel shuffle")
    }
    // The mean of eight images.
    let scale = try build.squareFactor(of: "\(name).in_to_k", outputs: 8 * image.channels)
    let all = try build.convolution(x, "\(name).in_to_k", side: 3)
    let size = image.channels * scale * scale
    var sum = build.channels(0..<size, of: all)
    for index in 1..<8 {
      sum = build.add(sum, build.channels(index * size..<(index + 1) * size, of: all))
    }
    let output = build.pixelShuffle(build.scale(sum, by: 1 / 8), scale)
    return (output, scale, "mean of 8 images")
  }
}
