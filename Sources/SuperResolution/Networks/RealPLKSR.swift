import Storage

/// RealPLKSR (Lee et al. 2024, "Partial Large Kernel CNNs for Efficient Super-Resolution", as
/// neosr trains it), with pixel shuffle or dynamic upsampling.
enum RealPLKSR: NetworkDescription {
  static let name = "RealPLKSR"
  static let landmarks = [".lk.conv.", ".channel_mixer."]

  static func describe(_ build: inout NetworkBuilder) throws -> NetworkTraits {
    let image = build.image(channels: 3)
    var x = try build.convolution(image, "feats.0", side: 3)
    let width = x.channels
    var blocks = 0
    while build.contains("feats.\(blocks + 1).refine.weight") {
      blocks += 1
      x = try block(x, "feats.\(blocks)", &build)
    }
    // A dropout without tensors stands between.
    let last = "feats.\(blocks + 2)"
    let scale = try build.squareFactor(of: last, outputs: image.channels)
    x = build.add(
      try build.convolution(x, last, side: 3), build.repeatChannels(image, scale * scale))
    let isDynamic = build.contains("to_img.init_pos")
    let output =
      isDynamic
      ? try build.dynamicSample(
        x, "to_img", factor: scale, groups: scale % 2 == 0 ? 4 : 3,
        outputs: scale == 1 ? nil : image.channels)
      : build.pixelShuffle(x, scale)
    return NetworkTraits(
      output: output, scale: scale, range: PixelRange(unshifted: image.channels),
      configuration: "\(width) channels, \(counted(blocks, "block"))"
        + (isDynamic ? ", dynamic upsampling" : ""))
  }

  private static func block(
    _ x: NetworkGraph.Value, _ name: String, _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    let isLayerNorm = build.contains("\(name).layer_norm.weight")
    var made =
      isLayerNorm ? try build.normalizePixels(x, "\(name).layer_norm", epsilon: 1e-6) : x
    made = build.apply(
      .mish, to: try build.convolution(made, "\(name).channel_mixer.0", side: 3))
    made = try build.convolution(
      made, "\(name).channel_mixer.2", outputs: x.channels, side: 3)
    // The large kernel sees the first channels alone.
    let partial = try build.dimensions(of: "\(name).lk.conv.weight", rank: 4)[0]
    guard partial < x.channels else {
      throw WeightMismatch(
        tensor: "\(name).lk.conv.weight",
        problem: "has \(counted(partial, "channel")), expected fewer than \(x.channels)")
    }
    let large = try build.convolution(
      build.channels(0..<partial, of: made), "\(name).lk.conv", outputs: partial)
    made = build.concatenate(large, build.channels(partial..<x.channels, of: made))
    if build.contains("\(name).attn.f.0.weight") {
      let weights = try build.convolution(
        made, "\(name).attn.f.0", outputs: x.channels, side: 3)
      made = build.multiply(made, build.apply(.sigmoid, to: weights))
    }
    made = try build.convolution(made, "\(name).refine", outputs: x.channels, side: 1)
    if !isLayerNorm {
      made = try build.normalizeGroups(made, "\(name).norm", groups: 4, epsilon: 1e-5)
    }
    return build.add(made, x)
  }
}
