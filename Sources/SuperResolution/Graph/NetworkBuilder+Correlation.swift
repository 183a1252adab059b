// Operators on queries, keys and values that attention by cosines and attention without softmax need.
extension NetworkBuilder {
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
    var x = constant(try parameter(offsets, [1, side, side, 2]), channels: 2)
    x = apply(.relu, to: try matrix(x, "\(name).0", hasBias: true))
    return scale(apply(.sigmoid, to: try matrix(x, "\(name).2")), by: 16)
  }
}
