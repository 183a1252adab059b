import Storage

/// DAT (Chen et al. 2023, "Dual Aggregation Transformer for Image Super-Resolution") in all its
/// published sizes.
enum DAT: NetworkDescription {
  static let name = "DAT"
  static let landmarks = [".attn.attns.", ".ffn.sg.", ".channel_interaction."]
  static let buffers: Set<String> = [
    "attn_mask_0", "attn_mask_1", "relative_position_index", "rpe_biases",
  ]

  static func describe(_ build: inout NetworkBuilder) throws -> NetworkTraits {
    let configuration = try DATConfiguration(build.weights)
    let channels = configuration.channels
    let image = build.image(channels: configuration.inputs)
    let shallow = try build.convolution(image, "conv_first", outputs: channels, side: 3)
    var x = try build.normalizePixels(shallow, "before_RG.1")
    for (group, depth) in configuration.depths.enumerated() {
      let start = x
      for index in 0..<depth {
        // Attention is within windows in even blocks and between channels in odd ones. Every second
        // spatial block is shifted; only odd groups start with a shifted one.
        x = try block(
          x, "layers.\(group).blocks.\(index)", configuration,
          windows: index % 2 == 0
            ? configuration.windows(shifted: index % 4 == (group % 2 == 0 ? 2 : 0)) : nil, &build)
      }
      x = build.add(try build.residualConvolution(x, "layers.\(group).conv"), start)
      build.endGroup(x)
    }
    x = try build.normalizePixels(x, "norm")
    x = build.add(try build.residualConvolution(x, "conv_after_body"), shallow)
    let (output, scale) =
      configuration.shufflesDirectly
      ? try build.shuffleDirectly(x, outputs: image.channels)
      : try build.shuffleInStages(x, outputs: image.channels)
    return NetworkTraits(
      output: output, scale: scale, range: PixelRange(channelCount: image.channels, range: 1),
      configuration: "\(channels) channels, "
        + "\(counted(configuration.depths.reduce(0, +), "block")) in "
        + "\(counted(configuration.depths.count, "group")), windows of "
        + "\(configuration.split.height) × \(configuration.split.width)")
  }

  /// Attention with a convolution of its values beside it, by which the branches weigh each other, then
  /// a feed-forward network. Each follows a normalization and is added to its input.
  ///
  /// - Parameter windows: those of each half of the channels; `nil` for attention between channels.
  private static func block(
    _ x: NetworkGraph.Value, _ name: String, _ configuration: DATConfiguration,
    windows: [WindowAttentionShape]?, _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    let (module, channels) = ("\(name).attn", x.channels)
    let all = try build.linear(
      build.normalizePixels(x, "\(name).norm1"), "\(module).qkv", outputs: 3 * channels,
      from: .normalization("\(name).norm1"), mayLackBias: true)
    let attended =
      try windows.map { try attention(all, module, $0, &build) }
      ?? build.channelAttention(
        all, .count(1), temperature: "\(module).temperature", sitesOf: module)
    var beside = try build.convolution(
      build.channels(2 * channels..<3 * channels, of: all), "\(module).dwconv.0",
      outputs: channels, side: 3, groups: channels)
    beside = build.apply(.gelu, to: try build.normalizeChannels(beside, "\(module).dwconv.1"))

    // One weight per channel comes from one branch and weighs the other; one per pixel goes the other
    // way.
    let (first, second) = windows == nil ? (beside, attended) : (attended, beside)
    let perChannel = try weights(
      of: build.average(second), "\(module).channel_interaction", first: 1, outputs: channels,
      &build)
    let perPixel = try weights(
      of: first, "\(module).spatial_interaction", first: 0, outputs: 1, &build)
    let mixed = build.add(
      build.multiply(first, perChannel), build.multiply(second, perPixel))
    let sum = build.add(
      x, try build.linear(mixed, "\(module).proj", outputs: channels))
    return try feedForward(sum, name, hidden: configuration.hidden, &build)
  }

  /// Attention within windows: one half of the channels has windows of `height` × `width`, the other
  /// half windows with the sides swapped.
  private static func attention(
    _ all: NetworkGraph.Value, _ module: String, _ windows: [WindowAttentionShape],
    _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    let (channels, half) = (all.channels / 3, all.channels / 6)
    var parts: [NetworkGraph.Value] = []
    for (index, window) in windows.enumerated() {
      let branch = "\(module).attns.\(index)"
      let last = "\(branch).pos.pos3.2.weight"
      var shape = window
      shape.heads = try build.dimensions(of: last, rank: 2)[0]
      guard channels % 2 == 0, half % shape.heads == 0 else {
        throw WeightMismatch(
          tensor: last, problem: "has \(shape.heads) heads, which do not divide half of \(channels)"
        )
      }
      func part(_ number: Int) -> NetworkGraph.Value {
        let first = number * channels + index * half
        return build.channels(first..<first + half, of: all)
      }
      let positions = try build.dynamicPositions(
        "\(branch).pos", height: shape.height, width: shape.width)
      parts.append(
        build.windowAttention(
          build.concatenate(part(0), part(1), part(2)), branch, shape, positions: positions))
    }
    return build.concatenate(parts[0], parts[1])
  }

  /// Weights from 0 to 1: two convolutions of single pixels.
  private static func weights(
    of x: NetworkGraph.Value, _ name: String, first: Int, outputs: Int,
    _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    var made = try build.convolution(x, "\(name).\(first)", side: 1)
    made = build.apply(.gelu, to: try build.normalizeChannels(made, "\(name).\(first + 1)"))
    return build.apply(
      .sigmoid, to: try build.convolution(made, "\(name).\(first + 3)", outputs: outputs, side: 1))
  }

  /// One half of the hidden features, convolved, multiplies the other half (spatial-gate feed-forward
  /// network).
  private static func feedForward(
    _ x: NetworkGraph.Value, _ name: String, hidden: Int, _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    let (gate, half) = ("\(name).ffn.sg", hidden / 2)
    let made = build.apply(
      .gelu,
      to: try build.linear(
        build.normalizePixels(x, "\(name).norm2"), "\(name).ffn.fc1", outputs: hidden,
        from: .normalization("\(name).norm2")))
    let passed = build.channels(0..<half, of: made)
    let gates = try build.convolution(
      build.normalizePixels(build.channels(half..<hidden, of: made), "\(gate).norm"),
      "\(gate).conv", outputs: half, side: 3, groups: half)
    return build.add(
      x,
      try build.linear(
        build.multiply(gates, passed), "\(name).ffn.fc2", outputs: x.channels,
        from: .gate("\(gate).conv")))
  }
}

extension DATConfiguration {
  /// The windows of an attention's two halves, for heads that are yet unknown.
  func windows(shifted isShifted: Bool) -> [WindowAttentionShape] {
    [(split.height, split.width), (split.width, split.height)].map { height, width in
      WindowAttentionShape(
        heads: 1, height: height, width: width, shiftDown: isShifted ? height / 2 : 0,
        shiftRight: isShifted ? width / 2 : 0, multiple: max(height, width))
    }
  }
}
