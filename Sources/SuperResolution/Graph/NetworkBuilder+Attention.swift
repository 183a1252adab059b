// Attention in its forms, and the biases of its positions.
extension NetworkBuilder {
  /// Applies attention within windows to queries, keys and values.
  ///
  /// - Parameters:
  ///   - module: the name under which its sites are known.
  ///   - positions: the bias of every relative position, `[2·height − 1, 2·width − 1, heads]`, or one
  ///     after another.
  mutating func windowAttention(
    _ x: Value, _ module: String, _ shape: WindowAttentionShape, positions: Value
  ) -> Value {
    requireHeads(shape.heads, of: x)
    require(
      positions.channels == shape.heads,
      "leads to biases for \(positions.channels) of \(shape.heads) heads")
    let sites = attentionSites(
      module, columnCount: x.channels / 3, heads: shape.heads)
    return add(
      .windowAttention(shape, sites: sites), [x, positions], channels: x.channels / 3)
  }

  /// Applies attention within windows whose biases are the tensor `table`.
  mutating func windowAttention(
    _ x: Value, _ module: String, _ shape: WindowAttentionShape, table: String
  ) throws -> Value {
    let rows = (2 * shape.height - 1) * (2 * shape.width - 1)
    let positions = try parameter(table, [rows, shape.heads])
    return windowAttention(
      x, module, shape, positions: constant(positions, channels: shape.heads))
  }

  mutating func requireHeads(_ heads: Int, of x: Value) {
    require(
      x.channels % 3 == 0 && x.channels / 3 % heads == 0,
      "has \(heads) heads, which do not divide \(x.channels / 3) channels")
  }

  /// Applies the perceptron `name`, which computes the bias of every relative position in a window
  /// (Wang et al. 2022, "CrossFormer", dynamic position bias).
  mutating func dynamicPositions(_ name: String, height: Int, width: Int) throws -> Value {
    var x = add(.offsets(height: height, width: width), [], channels: 2)
    x = try matrix(x, "\(name).pos_proj", hasBias: true)
    for stage in ["pos1", "pos2", "pos3"] {
      x = apply(.relu, to: try normalizePixels(x, "\(name).\(stage).0"))
      x = try matrix(x, "\(name).\(stage).2", hasBias: true)
    }
    return x
  }

  /// Applies attention between channels to queries, keys and values.
  ///
  /// - Parameters:
  ///   - name: the tensor of temperatures, one per head.
  ///   - module: the name under which its sites are known; `nil` for none.
  mutating func channelAttention(
    _ x: Value, _ division: ChannelAttentionDivision, temperature name: String,
    sitesOf module: String? = nil
  ) throws -> Value {
    let heads = try dimensions(of: name, rank: 3)[0]
    let temperature = try parameter(name, [heads, 1, 1])
    requireHeads(heads, of: x)
    let sites = module.map {
      attentionSites(
        $0, columnCount: x.channels / 3, heads: heads, comparesChannels: true)
    }
    return add(
      .channelAttention(division, heads: heads, temperature: temperature, sites: sites), [x],
      channels: x.channels / 3)
  }

  /// Applies attention from windows to larger ones around them to queries, keys and values.
  mutating func overlapAttention(
    _ x: Value, _ shape: OverlapAttentionShape, positions: GraphParameter
  ) -> Value {
    requireHeads(shape.heads, of: x)
    require(
      shape.overlap >= shape.window && shape.margin * 2 + shape.window == shape.overlap,
      "leads to windows of \(shape.window) inside windows of \(shape.overlap)")
    return add(.overlapAttention(shape, positions: positions), [x], channels: x.channels / 3)
  }

  /// Brings queries and keys to what attention needs to compare cosines.
  ///
  /// - Parameter name: the tensor of the logarithms of the cosines' factors, one per head.
  mutating func normalizeHeads(_ x: Value, _ name: String, heads: Int) throws -> Value {
    let scales = try parameter(name, [heads, 1, 1])
    requireHeads(heads, of: x)
    return add(.normalizeHeads(scales: scales), [x], channels: x.channels)
  }

  /// Applies attention without softmax within windows, whose values are the keys.
  ///
  /// - Parameters:
  ///   - keys: one per cell.
  ///   - positions: the bias of every relative position of a query and a cell, `[span, span, heads]`.
  mutating func correlation(
    _ queries: Value, _ keys: Value, _ shape: CorrelationShape, positions: Value
  ) -> Value {
    require(
      queries.channels % shape.heads == 0 && queries.channels == keys.channels
        && positions.channels == shape.heads,
      "leads to \(shape.heads) heads for \(queries.channels) and \(keys.channels) channels")
    return add(.correlation(shape), [queries, keys, positions], channels: queries.channels)
  }

  /// Mixes the channels of values by the average products of queries and keys in each window.
  mutating func channelCorrelation(
    _ queries: Value, _ keys: Value, _ values: Value, side: Int
  ) -> Value {
    add(
      .channelAttention(.side(side), heads: 1, temperature: nil, sites: nil),
      [concatenate(queries, keys, values)], channels: values.channels)
  }

  /// Applies the perceptron `name` to the offsets of relative positions, which are the tensor `offsets`
  /// (Liu et al. 2022, "Swin Transformer V2", log-spaced continuous position bias).
  mutating func continuousPositions(
    _ name: String, offsets: String, side: Int
  ) throws -> Value {
    // They are coordinates: nothing that could be learned.
    let table = try parameter(offsets, [1, side, side, 2])
    var x = constant(
      GraphParameter(shape: table.shape, of: table.tensors) { $0[0] }, channels: 2)
    x = apply(.relu, to: try matrix(x, "\(name).0", hasBias: true))
    return scale(apply(.sigmoid, to: try matrix(x, "\(name).2")), by: 16)
  }
}
