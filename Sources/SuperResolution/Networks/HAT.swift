import Storage

/// HAT (Chen et al. 2023, "Activating More Pixels in Image Super-Resolution Transformer"): SwinIR with a
/// convolution beside each attention, and an attention to overlapping windows at the end of a group.
enum HAT: NetworkDescription {
  static let name = "HAT"
  static let landmarks = [".conv_block.cab.", ".overlap_attn.", ".residual_group."]
  static let buffers: Set<String> = [
    "relative_position_index_SA", "relative_position_index_OCA", "attn_mask",
  ]

  static func describe(_ build: inout NetworkBuilder) throws -> NetworkTraits {
    let first = try build.dimensions(of: "conv_first.weight", rank: 4)
    let image = build.image(channels: first[1])
    let shallow = try build.convolution(image, "conv_first", side: 3)
    var x = try build.embed(shallow)
    let groups = build.count("layers", probe: "residual_group.blocks.0.norm1.weight")
    let window = try build.windowSide(
      of: "layers.0.residual_group.blocks.0.attn.relative_position_bias_table")
    let overlap = try side(
      of: "layers.0.residual_group.overlap_attn.relative_position_bias_table", build
    ) { window + $0 - 1 }
    // A network without convolutions at the ends of its groups has none after its body.
    let hasTails =
      build.contains("conv_after_body.weight") || build.contains("layers.0.conv.weight")
    var blocks = 0
    for group in 0..<groups {
      let (name, start) = ("layers.\(group).residual_group", x)
      let count = build.count("\(name).blocks", probe: "norm1.weight")
      for index in 0..<count {
        x = try block(
          x, "\(name).blocks.\(index)", window: window, isShifted: index % 2 == 1, &build)
      }
      x = try overlapping(x, "\(name).overlap_attn", window: window, overlap: overlap, &build)
      x = build.add(hasTails ? try build.residualConvolution(x, "layers.\(group).conv") : x, start)
      build.endGroup(x)
      blocks += count
    }
    x = try build.normalizePixels(x, "norm")
    x = build.add(hasTails ? try build.residualConvolution(x, "conv_after_body") : x, shallow)
    let (output, scale) = try build.shuffleInStages(x, outputs: image.channels)
    return NetworkTraits(
      output: output, scale: scale, range: PixelRange(channelCount: image.channels, range: 1),
      multiple: window,
      configuration: "\(shallow.channels) channels, \(counted(blocks, "block")) in "
        + "\(counted(groups, "group")), windows of \(window) and \(overlap)")
  }

  /// Returns the side for which the square of `span` is the number of rows of a table.
  private static func side(
    of table: String, _ build: NetworkBuilder, _ span: (Int) -> Int
  ) throws -> Int {
    let rows = try build.dimensions(of: table, rank: 2)[0]
    guard let side = (1...64).first(where: { span($0) * span($0) == rows }) else {
      throw WeightMismatch(
        tensor: table, problem: "has \(counted(rows, "row")), expected the square of a window's")
    }
    return side
  }

  /// Attention within windows and, beside it, two convolutions whose channels are weighed; then a
  /// perceptron.
  private static func block(
    _ x: NetworkGraph.Value, _ name: String, window: Int, isShifted: Bool,
    _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    let normalized = try build.normalizePixels(x, "\(name).norm1")
    let module = "\(name).conv_block.cab"
    var beside = build.apply(
      .gelu, to: try build.convolution(normalized, "\(module).0", side: 3))
    beside = try build.convolution(beside, "\(module).2", outputs: x.channels, side: 3)
    let squeezed = try build.convolution(
      build.average(beside), "\(module).3.attention.1", side: 1)
    let weights = try build.convolution(
      build.apply(.relu, to: squeezed), "\(module).3.attention.3", outputs: x.channels, side: 1)
    beside = build.multiply(beside, build.apply(.sigmoid, to: weights))
    // The factor of the published networks; it is not in the file.
    beside = build.scale(beside, by: 0.01)

    let attention = "\(name).attn"
    let table = "\(attention).relative_position_bias_table"
    let heads = try build.dimensions(of: table, rank: 2)[1]
    let shift = isShifted ? window / 2 : 0
    var attended = try build.linear(
      normalized, "\(attention).qkv", outputs: 3 * x.channels, mayLackBias: true)
    attended = try build.windowAttention(
      attended, attention,
      WindowAttentionShape(
        heads: heads, height: window, width: window, shiftDown: shift, shiftRight: shift,
        multiple: window), table: table)
    attended = try build.linear(attended, "\(attention).proj", outputs: x.channels)
    return try perceptron(build.add(build.add(x, attended), beside), name, &build)
  }

  /// Attention from each window to a larger one around it, then a perceptron.
  private static func overlapping(
    _ x: NetworkGraph.Value, _ name: String, window: Int, overlap: Int,
    _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    let table = "\(name).relative_position_bias_table"
    let heads = try build.dimensions(of: table, rank: 2)[1]
    let rows = (window + overlap - 1) * (window + overlap - 1)
    var attended = try build.linear(
      build.normalizePixels(x, "\(name).norm1"), "\(name).qkv", outputs: 3 * x.channels,
      from: .normalization("\(name).norm1"), mayLackBias: true)
    attended = build.overlapAttention(
      attended,
      OverlapAttentionShape(heads: heads, window: window, overlap: overlap),
      positions: try build.parameter(table, [rows, heads]))
    attended = try build.linear(attended, "\(name).proj", outputs: x.channels)
    return try perceptron(build.add(x, attended), name, &build)
  }

  private static func perceptron(
    _ x: NetworkGraph.Value, _ name: String, _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    let hidden = try build.dimensions(of: "\(name).mlp.fc1.weight", rank: 2)[0]
    let made = try build.linear(
      build.normalizePixels(x, "\(name).norm2"), "\(name).mlp.fc1", outputs: hidden,
      from: .normalization("\(name).norm2"))
    return build.add(
      x,
      try build.linear(build.apply(.gelu, to: made), "\(name).mlp.fc2", outputs: x.channels))
  }
}
