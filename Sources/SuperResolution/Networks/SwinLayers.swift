import Storage

// What Swin transformers for images share.
extension NetworkBuilder {
  /// Applies the normalization and adds the positions with which features become tokens, if there are any.
  mutating func embed(_ x: Value) throws -> Value {
    var x = x
    if contains("patch_embed.norm.weight") { x = try normalizePixels(x, "patch_embed.norm") }
    if contains("absolute_pos_embed") {
      let count = try dimensions(of: "absolute_pos_embed", rank: 3)[1]
      x = addPositions(x, try parameter("absolute_pos_embed", [1, count, x.channels]))
    }
    return x
  }

  /// Returns the side of the windows whose relative positions have a row each in the tensor `table`.
  func windowSide(of table: String) throws -> Int {
    let rows = try dimensions(of: table, rank: 2)[0]
    let largest = SwinIRConfiguration.largestWindow
    guard let side = (1...largest).first(where: { (2 * $0 - 1) * (2 * $0 - 1) == rows }) else {
      throw WeightMismatch(
        tensor: table,
        problem: "has \(counted(rows, "row")), expected the square of an odd number up to "
          + "\(2 * largest - 1)")
    }
    return side
  }

  /// One transformer layer: attention within windows, then a perceptron on each pixel. Each follows a
  /// normalization and is added to its input (equations 5 and 6).
  mutating func swinLayer(
    _ x: Value, _ name: String, heads: Int, window: Int, hidden: Int, isShifted: Bool
  ) throws -> Value {
    let attention = "\(name).attn"
    let shift = isShifted ? window / 2 : 0
    let shape = WindowAttentionShape(
      heads: heads, height: window, width: window, shiftDown: shift, shiftRight: shift,
      multiple: window)
    var made = try linear(
      normalizePixels(x, "\(name).norm1"), "\(attention).qkv", outputs: 3 * x.channels,
      from: .normalization("\(name).norm1"), mayLackBias: true)
    made = try windowAttention(
      made, attention, shape, table: "\(attention).relative_position_bias_table")
    let attended = add(
      x, try linear(made, "\(attention).proj", outputs: x.channels))
    made = try linear(
      normalizePixels(attended, "\(name).norm2"), "\(name).mlp.fc1", outputs: hidden,
      from: .normalization("\(name).norm2"))
    made = try linear(
      apply(.gelu, to: made), "\(name).mlp.fc2", outputs: x.channels)
    return add(attended, made)
  }
}
