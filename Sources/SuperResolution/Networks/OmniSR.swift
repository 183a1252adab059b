import Storage

/// Omni-SR (Wang et al. 2023, "Omni Aggregation Networks for Lightweight Image Super-Resolution"):
/// attention between pixels and between channels, within windows and across them.
enum OmniSR: NetworkDescription {
  static let name = "OmniSR"
  static let landmarks = [".residual_layer.", ".qkv_dwconv."]
  /// The number of heads is in no tensor of attention between pixels without position biases.
  private static let heads = 4

  static func describe(_ build: inout NetworkBuilder) throws -> NetworkTraits {
    let first = try build.dimensions(of: "input.weight", rank: 4)
    guard first[0] % heads == 0 else {
      throw WeightMismatch(
        tensor: "input.weight",
        problem: "has \(counted(first[0], "output")), which \(heads) heads do not divide")
    }
    let image = build.image(channels: first[1])
    let shallow = try build.convolution(image, "input", side: 3)
    let probe = "layer.0.fn.0.weight"
    let groups = build.count("residual_layer", probe: "residual_layer.0.\(probe)")
    let table = "residual_layer.0.residual_layer.0.layer.2.fn.rel_pos_bias.weight"
    var window = 8
    if build.contains(table) {
      let rows = try build.dimensions(of: table, rank: 2)[0]
      guard let side = (1...32).first(where: { (2 * $0 - 1) * (2 * $0 - 1) == rows }) else {
        throw WeightMismatch(
          tensor: table,
          problem: "has \(counted(rows, "row")), expected the square of an odd number")
      }
      window = side
    }
    var (x, blocks) = (shallow, 0)
    for group in 0..<groups {
      let (name, start) = ("residual_layer.\(group)", x)
      let count = build.count("\(name).residual_layer", probe: probe)
      for index in 0..<count {
        x = try block(x, "\(name).residual_layer.\(index).layer", window, &build)
      }
      x = try build.convolution(
        x, "\(name).residual_layer.\(count)", outputs: start.channels, side: 1)
      x = try build.spatialAttention(build.add(x, start), "\(name).esa")
      build.endGroup(x)
      blocks += count
    }
    x = build.add(try build.convolution(x, "output", outputs: shallow.channels, side: 3), shallow)
    let scale = try build.squareFactor(of: "up.0", outputs: image.channels)
    return NetworkTraits(
      output: build.pixelShuffle(try build.convolution(x, "up.0", side: 3), scale), scale: scale,
      range: PixelRange(unshifted: image.channels), multiple: window, padsWithZeros: true,
      configuration: "\(first[0]) channels, \(counted(blocks, "block")) in "
        + "\(counted(groups, "group")), windows of \(window)")
  }

  private static func block(
    _ x: NetworkGraph.Value, _ name: String, _ window: Int, _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    var x = build.add(try convolutions(x, "\(name).0.fn", &build), x)
    x = try attention(x, "\(name).2", window, &build)
    x = try perceptron(x, "\(name).4", &build)
    x = try channelAttention(x, "\(name).5", window, isGrid: false, &build)
    x = try perceptron(x, "\(name).6", &build)
    // A window that has pixels far apart is one of neighbours among interleaved rows and columns.
    x = build.deinterleave(
      try attention(build.interleave(x, window), "\(name).8", window, &build), window)
    x = try perceptron(x, "\(name).10", &build)
    x = try channelAttention(x, "\(name).11", window, isGrid: true, &build)
    return try perceptron(x, "\(name).12", &build)
  }

  private static func convolutions(
    _ x: NetworkGraph.Value, _ name: String, _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    var made = build.apply(.gelu, to: try build.convolution(x, "\(name).0", side: 1))
    made = build.apply(
      .gelu,
      to: try build.convolution(
        made, "\(name).2", outputs: made.channels, side: 3, groups: made.channels))
    var weights = try build.matrix(build.average(made), "\(name).4.gate.1")
    weights = try build.matrix(build.apply(.silu, to: weights), "\(name).4.gate.3")
    made = build.multiply(made, build.apply(.sigmoid, to: weights))
    return try build.convolution(made, "\(name).5", outputs: x.channels, side: 1)
  }

  private static func attention(
    _ x: NetworkGraph.Value, _ name: String, _ window: Int, _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    let rows = (2 * window - 1) * (2 * window - 1)
    let table = "\(name).fn.rel_pos_bias.weight"
    let positions =
      build.contains(table)
      ? try build.parameter(table, [rows, heads])
      : GraphParameter(shape: [rows, heads], of: []) { _ in
        [Float](repeating: 0, count: rows * heads)
      }
    var made = try build.linear(
      build.normalizePixels(x, "\(name).norm"), "\(name).fn.to_qkv", outputs: 3 * x.channels,
      from: .normalization("\(name).norm"), mayLackBias: true)
    made = build.windowAttention(
      made, "\(name).fn",
      WindowAttentionShape(
        heads: heads, height: window, width: window, shiftDown: 0, shiftRight: 0,
        multiple: window), positions: build.constant(positions, channels: heads))
    return build.add(
      x,
      try build.linear(made, "\(name).fn.to_out.0", outputs: x.channels, mayLackBias: true))
  }

  private static func channelAttention(
    _ x: NetworkGraph.Value, _ name: String, _ window: Int, isGrid: Bool,
    _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    var made = try build.convolution(
      build.normalizePixels(x, "\(name).norm", epsilon: 1e-6), "\(name).fn.qkv",
      outputs: 3 * x.channels, side: 1, hasBias: false)
    made = try build.convolution(
      made, "\(name).fn.qkv_dwconv", outputs: made.channels, side: 3, groups: made.channels,
      hasBias: false)
    // In a grid, pixels of the same place in all windows are compared.
    if isGrid { made = build.deinterleave(made, window) }
    made = try build.channelAttention(
      made, isGrid ? .count(window) : .side(window), temperature: "\(name).fn.temperature")
    if isGrid { made = build.interleave(made, window) }
    return build.add(
      try build.convolution(
        made, "\(name).fn.project_out", outputs: x.channels, side: 1, hasBias: false), x)
  }

  private static func perceptron(
    _ x: NetworkGraph.Value, _ name: String, _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    var made = try build.convolution(
      build.normalizePixels(x, "\(name).norm", epsilon: 1e-6), "\(name).fn.project_in", side: 1,
      hasBias: false)
    made = try build.convolution(
      made, "\(name).fn.dwconv", outputs: made.channels, side: 3, groups: made.channels,
      hasBias: false)
    let half = made.channels / 2
    made = build.multiply(
      build.apply(.gelu, to: build.channels(0..<half, of: made)),
      build.channels(half..<2 * half, of: made))
    return build.add(
      try build.convolution(
        made, "\(name).fn.project_out", outputs: x.channels, side: 1, hasBias: false), x)
  }
}
