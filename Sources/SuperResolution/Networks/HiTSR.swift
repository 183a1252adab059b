import Storage

/// HiT-SR (Zhang et al. 2024, "HiT-SR: Hierarchical Transformer for Efficient Image Super-Resolution") in
/// its variants HiT-SIR and HiT-SRF: windows that grow from block to block, in which queries and values
/// correlate without softmax.
enum HiTSR: NetworkDescription {
  static let name = "HiT-SR"
  static let landmarks = [".correlation.spatial_linear.", ".correlation.qv."]

  /// The windows of a group's blocks in the published networks, which no tensor tells: a half, 1, 2, 4, 6
  /// and 8 times those of `base`.
  private static let windows = [4, 8, 16, 32, 48, 64]
  private static let base = 8

  static func describe(_ build: inout NetworkBuilder) throws -> NetworkTraits {
    let first = try build.dimensions(of: "conv_first.weight", rank: 4)
    let image = build.image(channels: first[1])
    let shallow = try build.convolution(image, "conv_first", side: 3)
    var x = try build.normalizePixels(shallow, "patch_embed.norm")
    let groups = build.count("layers", probe: "residual_group.blocks.0.norm1.weight")
    let variant = Variant(build)
    var blocks = 0
    for group in 0..<groups {
      let (name, start) = ("layers.\(group).residual_group.blocks", x)
      let count = build.count(name, probe: "norm1.weight")
      for index in 0..<count {
        guard index < windows.count else {
          throw WeightMismatch(
            tensor: "\(name).\(index).norm1.weight",
            problem: "belongs to a block beyond the \(windows.count) whose windows are known")
        }
        x = try block(x, "\(name).\(index)", variant, window: windows[index], &build)
      }
      x = build.add(try build.residualConvolution(x, "layers.\(group).conv"), start)
      build.endGroup(x)
      blocks += count
    }
    x = try build.normalizePixels(x, "norm")
    x = build.add(try build.residualConvolution(x, "conv_after_body"), shallow)
    let (output, scale) = try build.reconstruct(x, image, Upsampler(build.weights))
    return NetworkTraits(
      output: output, scale: scale, range: PixelRange(channelCount: image.channels, range: 1),
      configuration:
        "variant \(variant.rawValue), \(first[0]) channels, \(counted(blocks, "block")) in "
        + "\(counted(groups, "group"))")
  }

  private enum Variant: String {
    case plain = "SIR"
    /// With a convolution in each perceptron.
    case convolutional = "SRF"

    init(_ build: NetworkBuilder) {
      self =
        build.contains("layers.0.residual_group.blocks.0.mlp.dwconv.depthwise_conv.0.weight")
        ? .convolutional : .plain
    }
  }

  /// Correlation within windows, then a perceptron. Each is normalized, then added to its input.
  private static func block(
    _ x: NetworkGraph.Value, _ name: String, _ variant: Variant, window: Int,
    _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    // The features of each block are mirrored on their own: windows are of different sizes.
    var made = build.move(x, .mirror(multiple: window))
    made = try correlation(made, "\(name).correlation", window: window, &build)
    made = build.move(made, .crop(from: 0), toSizeOf: x)
    let sum = build.add(x, try build.normalizePixels(made, "\(name).norm1"))

    let module = "\(name).mlp"
    guard variant == .convolutional else {
      return build.add(
        sum, try build.normalizePixels(build.perceptron(sum, module), "\(name).norm2"))
    }
    let hidden = try build.dimensions(of: "\(module).fc1.weight", rank: 2)[0]
    made = build.apply(.gelu, to: try build.linear(sum, "\(module).fc1", outputs: hidden))
    let beside = build.apply(
      .gelu,
      to: try build.convolution(
        made, "\(module).dwconv.depthwise_conv.0", outputs: hidden, side: 5, groups: hidden))
    made = try build.linear(build.add(made, beside), "\(module).fc2", outputs: x.channels)
    return build.add(sum, try build.normalizePixels(made, "\(name).norm2"))
  }

  /// One half of the features are queries, the other half values. Their correlation between pixels makes
  /// one half of the result, and that between channels the other.
  private static func correlation(
    _ x: NetworkGraph.Value, _ name: String, window: Int, _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    let (channels, half) = (x.channels, x.channels / 2)
    let last = "\(name).pos.pos3.2.weight"
    let heads = try build.dimensions(of: last, rank: 2)[0]
    guard channels % 2 == 0, half % heads == 0 else {
      throw WeightMismatch(
        tensor: last, problem: "has \(heads) heads, which do not divide half of \(channels)")
    }
    var narrow = build.apply(
      .leakyReLU(slope: 0.2), to: try build.convolution(x, "\(name).qv.conv.0", side: 1))
    narrow = try build.activatedConvolution(narrow, "\(name).qv.conv.2", slope: 0.2)
    let all = build.multiply(
      try build.convolution(narrow, "\(name).qv.conv.4", outputs: channels, side: 1),
      try build.convolution(x, "\(name).qv.linear", outputs: channels, side: 1))
    let queries = build.channels(0..<half, of: all)
    let values = build.channels(half..<channels, of: all)

    // The pixels of a cell are put together by the same weights in all channels, and their biases are
    // averaged.
    let cell = max(1, window / base)
    let weights = try build.parameter("\(name).spatial_linear.weight", [1, cell * cell])
    let bias = try build.parameter("\(name).spatial_linear.bias", [1])
    let keys = build.convolution(
      values, repeated(weights, [half, 1, cell, cell]), repeated(bias, [half]), step: cell,
      padding: (0, 0), groups: half)
    let positions = try build.dynamicPositions("\(name).pos", height: window, width: window)
    let spatial = build.correlation(
      queries, keys, CorrelationShape(heads: heads, window: window, cell: cell),
      positions: build.average(positions, side: cell, step: 1))
    let channelwise = build.channelCorrelation(queries, values, values, side: window)
    return try build.linear(
      build.concatenate(spatial, channelwise), "\(name).proj", outputs: channels)
  }

  /// Returns a parameter of the given shape that is another one several times.
  private static func repeated(_ parameter: GraphParameter, _ shape: [Int]) -> GraphParameter {
    GraphParameter(shape: shape, of: parameter.tensors) { read in
      let count = shape.reduce(1, *) / read[0].count
      return [Float]((0..<count).map { _ in read[0] }.joined())
    }
  }
}
