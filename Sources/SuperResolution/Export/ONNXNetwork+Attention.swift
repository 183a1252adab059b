import Formats

/// Attention in ONNX's operators. Queries, keys and values become `[windows, heads, tokens, channels of a
/// head]`.
extension ONNXNetwork {
  mutating func setWindowAttention(
    _ index: Int, _ node: NetworkGraph.Node, _ shape: WindowAttentionShape, _ sites: AttentionSites
  ) {
    guard let size = sizes?[index] else { preconditionFailure("the size is known") }
    let grid = shape.grid(height: size.height, width: size.width)
    let (height, width) = (grid.rows * shape.height, grid.columns * shape.width)
    let (heads, headChannels) = (shape.heads, node.channels / shape.heads)
    let tokens = grid.tokenCount
    var x = value(node.inputs[0].node, .channelsLast)
    if height > size.height || width > size.width {
      x = add(
        "Pad", [x, integers([0, 0, 0, 0, 0, height - size.height, width - size.width, 0])])
    }
    x = rolled(x, by: shape.shiftDown, shape.shiftRight, height, width)
    let columns = node.channels
    let scale = floats([1 / Float(headChannels).squareRoot()], [])
    x = add(
      "Concat",
      [
        quantized(
          add("Mul", [channels(0..<columns, of: x), scale]), at: sites.query, columns: columns),
        quantized(channels(columns..<2 * columns, of: x), at: sites.key, columns: columns),
        quantized(channels(2 * columns..<3 * columns, of: x), at: sites.value, columns: columns),
      ], ["axis": .integer(3)])
    let parts = split(
      x, rows: (grid.rows, shape.height), columns: (grid.columns, shape.width), heads: heads,
      headChannels: headChannels, channelsLast: true)
    let keys = add("Transpose", [parts[1]], ["perm": .integers([0, 1, 3, 2])])
    var scores = add("MatMul", [parts[0], keys])
    scores = add(
      "Add",
      [
        scores,
        biases(
          node.inputs[1].node, heads: heads, positions: WindowLayout(grid).positions.map(Int.init),
          queries: tokens, keys: tokens),
      ])
    if let mask = masks(grid) { scores = add("Add", [scores, mask]) }
    let probabilities = quantized(
      add("Softmax", [scores], ["axis": .integer(-1)]), at: sites.probabilities,
      columns: tokens)
    let mixed = add("MatMul", [probabilities, parts[2]])
    var result = joined(
      mixed, rows: (grid.rows, shape.height), columns: (grid.columns, shape.width), heads: heads,
      headChannels: headChannels)
    result = rolled(
      result, by: (height - shape.shiftDown) % height, (width - shape.shiftRight) % width, height,
      width)
    if height > size.height || width > size.width {
      result = add(
        "Slice",
        [result, integers([0, 0]), integers([size.height, size.width]), integers([1, 2])])
    }
    set(index, .channelsLast, result)
  }

  /// Returns some channels, which are last.
  private mutating func channels(_ range: Range<Int>, of x: String) -> String {
    add(
      "Slice", [x, integers([range.lowerBound]), integers([range.upperBound]), integers([3])])
  }

  /// Returns the rows and columns, channels last, from a place on, and those before it after them.
  private mutating func rolled(
    _ x: String, by down: Int, _ right: Int, _ height: Int, _ width: Int
  ) -> String {
    var x = x
    for (axis, shift, side) in [(1, down, height), (2, right, width)] where shift > 0 {
      x = add(
        "Gather", [x, integers((0..<side).map { ($0 + shift) % side })], ["axis": .integer(axis)])
    }
    return x
  }

  /// Divides queries, keys and values, channels last, into windows and heads.
  ///
  /// - Parameters:
  ///   - rows, columns: the number of windows along an axis, and a window's side.
  ///   - channelsLast: whether a head's channels come after its tokens.
  private mutating func split(
    _ x: String, rows: (count: Int, side: Int), columns: (count: Int, side: Int), heads: Int,
    headChannels: Int, channelsLast: Bool
  ) -> [String] {
    let parts = add(
      "Reshape",
      [
        x, integers([rows.count, rows.side, columns.count, columns.side, 3, heads, headChannels]),
      ])
    let perm = channelsLast ? [4, 0, 2, 5, 1, 3, 6] : [4, 0, 2, 5, 6, 1, 3]
    let ordered = add("Transpose", [parts], ["perm": .integers(perm)])
    let tokens = rows.side * columns.side
    let all = add(
      "Reshape",
      [
        ordered,
        integers(
          [3, rows.count * columns.count, heads]
            + (channelsLast ? [tokens, headChannels] : [headChannels, tokens])),
      ])
    return (0..<3).map { part(all, $0) }
  }

  /// Returns one of the parts along the first axis.
  private mutating func part(_ x: String, _ index: Int) -> String {
    let slice = add(
      "Slice", [x, integers([index]), integers([index + 1]), integers([0])])
    return add("Squeeze", [slice, integers([0])])
  }

  /// Puts windows and heads together again, channels last.
  private mutating func joined(
    _ x: String, rows: (count: Int, side: Int), columns: (count: Int, side: Int), heads: Int,
    headChannels: Int, channelsLast: Bool = true
  ) -> String {
    let shape =
      [rows.count, columns.count, heads]
      + (channelsLast
        ? [rows.side, columns.side, headChannels] : [headChannels, rows.side, columns.side])
    let parts = add("Reshape", [x, integers(shape)])
    let perm = channelsLast ? [0, 3, 1, 4, 2, 5] : [0, 4, 1, 5, 2, 3]
    let ordered = add("Transpose", [parts], ["perm": .integers(perm)])
    return add(
      "Reshape",
      [
        ordered,
        integers([1, rows.count * rows.side, columns.count * columns.side, heads * headChannels]),
      ])
  }

  /// Returns the biases of all queries and keys, `[1, heads, queries, keys]`.
  ///
  /// - Parameter positions: the row of the table for each query and key.
  private mutating func biases(
    _ table: Int, heads: Int, positions: [Int], queries: Int, keys: Int
  ) -> String {
    let rows = add("Reshape", [value(table, .channelsLast), integers([-1, heads])])
    return biases(rows: rows, heads: heads, positions: positions, queries: queries, keys: keys)
  }

  private mutating func biases(
    rows: String, heads: Int, positions: [Int], queries: Int, keys: Int
  ) -> String {
    let spread = add("Gather", [rows, integers(positions)], ["axis": .integer(0)])
    let byHeads = add("Transpose", [spread], ["perm": .integers([1, 0])])
    return add("Reshape", [byHeads, integers([1, heads, queries, keys])])
  }

  /// Returns the masks of all windows, `[windows, 1, tokens, tokens]`; `nil` where windows are not
  /// shifted.
  private mutating func masks(_ grid: WindowGrid) -> String? {
    let masks = grid.masks()
    guard !masks.isEmpty else { return nil }
    let tokens = grid.tokenCount
    let none = [Float](repeating: 0, count: tokens * tokens)
    let kinds = floats(none + masks, [4, 1, tokens, tokens])
    let ofWindows = (0..<grid.windowCount).map { grid.maskKind($0).map { $0 + 1 } ?? 0 }
    return add("Gather", [kinds, integers(ofWindows)], ["axis": .integer(0)])
  }

  mutating func setOverlapAttention(
    _ index: Int, _ node: NetworkGraph.Node, _ shape: OverlapAttentionShape,
    _ positions: GraphParameter
  ) throws {
    guard let size = sizes?[index] else { preconditionFailure("the size is known") }
    let layout = WindowLayout(shape, height: size.height, width: size.width)
    let (heads, channels, count) = (shape.heads, node.channels, size.height * size.width)
    let headChannels = channels / heads
    let pixels = add(
      "Reshape", [value(node.inputs[0].node, .channelsLast), integers([count, 3 * channels])])
    // Pixels outside the image are the row after the last.
    let all = add(
      "Concat",
      [pixels, floats([Float](repeating: 0, count: 3 * channels), [1, 3 * channels])],
      ["axis": .integer(0)])
    /// Returns queries (0), keys (1) or values (2) of all windows.
    func part(
      _ number: Int, _ order: RowOrder, _ tokens: Int, _ network: inout ONNXNetwork
    ) -> String {
      let columns = network.add(
        "Slice",
        [
          all, network.integers([number * channels]), network.integers([(number + 1) * channels]),
          network.integers([1]),
        ])
      let rows = network.add(
        "Gather", [columns, network.integers(order.sources.map { $0 < 0 ? count : Int($0) })],
        ["axis": .integer(0)])
      let shaped = network.add(
        "Reshape",
        [rows, network.integers([layout.windowCount, tokens, heads, headChannels])])
      return network.add("Transpose", [shaped], ["perm": .integers([0, 2, 1, 3])])
    }
    let queries = add(
      "Mul",
      [
        part(0, layout.order, layout.tokenCount, &self),
        floats([1 / Float(headChannels).squareRoot()], []),
      ])
    let keys = add(
      "Transpose", [part(1, layout.keyOrder, layout.keyCount, &self)],
      ["perm": .integers([0, 1, 3, 2])])
    let rows = try parameter(positions, [layout.positionCount, heads])
    let scores = add(
      "Add",
      [
        add("MatMul", [queries, keys]),
        biases(
          rows: rows, heads: heads, positions: layout.positions.map(Int.init),
          queries: layout.tokenCount, keys: layout.keyCount),
      ])
    let mixed = add(
      "MatMul",
      [
        add("Softmax", [scores], ["axis": .integer(-1)]),
        part(2, layout.keyOrder, layout.keyCount, &self),
      ])
    let side = shape.window
    set(
      index, .channelsLast,
      joined(
        mixed, rows: (size.height / side, side), columns: (size.width / side, side), heads: heads,
        headChannels: headChannels))
  }

  mutating func setChannelAttention(
    _ index: Int, _ node: NetworkGraph.Node, _ division: ChannelAttentionDivision, heads: Int,
    _ temperature: GraphParameter?, _ sites: AttentionSites?
  ) throws {
    let headChannels = node.channels / heads
    var x = value(node.inputs[0].node, .channelsLast)
    // Queries and keys are rounded with a root mean square of 1.
    var share: Float?
    if let sites, let size = sizes?[index] {
      let columns = node.channels
      share = 1 / Float(size.height * size.width)
      let parts = [sites.query, sites.key, sites.value].enumerated().map { number, site in
        var part = channels(number * columns..<(number + 1) * columns, of: x)
        if number < 2 {
          let root = floats([Float(size.height * size.width).squareRoot()], [])
          part = add("Mul", [unit(part, along: [1, 2]), root])
        }
        return quantized(part, at: site, columns: columns)
      }
      x = add("Concat", parts, ["axis": .integer(3)])
    }
    let parts: [String]
    var window: (rows: (count: Int, side: Int), columns: (count: Int, side: Int))?
    if let size = sizes?[index], let side = division.window(height: size.height, width: size.width)
    {
      let divided = (
        rows: (count: size.height / side.height, side: side.height),
        columns: (count: size.width / side.width, side: side.width)
      )
      window = divided
      parts = split(
        x, rows: divided.rows, columns: divided.columns, heads: heads, headChannels: headChannels,
        channelsLast: false)
    } else {
      // One window, whatever its size.
      let rows = add("Reshape", [x, integers([-1, 3, heads, headChannels])])
      let ordered = add("Transpose", [rows], ["perm": .integers([1, 2, 3, 0])])
      let all = add("Unsqueeze", [ordered, integers([1])])
      parts = (0..<3).map { part(all, $0) }
    }
    var (queries, keys) = (parts[0], parts[1])
    if temperature != nil, share == nil {
      queries = unit(queries, along: [-1])
      keys = unit(keys, along: [-1])
    }
    var weights = add(
      "MatMul", [queries, add("Transpose", [keys], ["perm": .integers([0, 1, 3, 2])])])
    if let temperature {
      if let share { weights = add("Mul", [weights, floats([share], [])]) }
      weights = add("Mul", [weights, try parameter(temperature, [heads, 1, 1])])
      weights = add("Softmax", [weights], ["axis": .integer(-1)])
      weights = quantized(weights, at: sites?.probabilities, columns: headChannels)
    } else if let window {
      let pixels = Float(window.rows.side * window.columns.side)
      weights = add("Div", [weights, floats([pixels], [])])
    } else {
      let count = add("Shape", [queries], ["start": .integer(3)])
      weights = add("Div", [weights, add("Cast", [count], ["to": .integer(1)])])
    }
    let mixed = add(
      "MatMul", [weights, parts[2]])
    if let window {
      set(
        index, .channelsLast,
        joined(
          mixed, rows: window.rows, columns: window.columns, heads: heads,
          headChannels: headChannels, channelsLast: false))
    } else {
      let rows = add("Reshape", [mixed, integers([1, node.channels, -1])])
      let begin = add("Shape", [value(node.inputs[0].node, .channelsFirst)], ["start": .integer(2)])
      let shape = add("Concat", [integers([1, node.channels]), begin], ["axis": .integer(0)])
      set(index, .channelsFirst, add("Reshape", [rows, shape]))
    }
  }

  /// Divides vectors along axes by their norms, which are at least 10⁻¹² as in PyTorch.
  private mutating func unit(_ x: String, along axes: [Int]) -> String {
    let squares = add("ReduceSum", [add("Mul", [x, x]), integers(axes)])
    return add("Div", [x, add("Max", [add("Sqrt", [squares]), floats([1e-12], [])])])
  }

  mutating func setNormalizedHeads(
    _ index: Int, _ node: NetworkGraph.Node, _ scales: GraphParameter
  ) throws {
    let heads = scales.shape.reduce(1, *)
    let headChannels = node.channels / 3 / heads
    let x = value(node.inputs[0].node, .channelsLast)
    let shape = add("Shape", [x])
    let parts = add("Reshape", [x, integers([-1, 3, heads, headChannels])])
    func slice(_ first: Int, _ last: Int, _ network: inout ONNXNetwork) -> String {
      network.add(
        "Slice",
        [
          parts, network.integers([first]), network.integers([last]), network.integers([1]),
        ])
    }
    let vectors = slice(0, 2, &self)
    let units = unit(vectors, along: [-1])
    // eˢ, at most 100, and the root of the channels, by which attention divides.
    let exponentials = add(
      "Min", [add("Exp", [try parameter(scales, [1, 1, heads, 1])]), floats([100], [])])
    let factors = add("Mul", [exponentials, floats([Float(headChannels).squareRoot()], [])])
    let ones = floats([Float](repeating: 1, count: heads), [1, 1, heads, 1])
    let both = add("Concat", [factors, ones], ["axis": .integer(1)])
    let all = add(
      "Concat", [add("Mul", [units, both]), slice(2, 3, &self)], ["axis": .integer(1)])
    set(index, .channelsLast, add("Reshape", [all, shape]))
  }

  mutating func setCorrelation(
    _ index: Int, _ node: NetworkGraph.Node, _ shape: CorrelationShape
  ) {
    guard let size = sizes?[index] else { preconditionFailure("the size is known") }
    let (heads, headChannels) = (shape.heads, node.channels / shape.heads)
    let (rows, columns) = (size.height / shape.window, size.width / shape.window)
    /// Divides an image, channels last, into windows and heads.
    func divided(_ node: Int, _ side: Int, _ network: inout ONNXNetwork) -> String {
      let parts = network.add(
        "Reshape",
        [
          network.value(node, .channelsLast),
          network.integers([rows, side, columns, side, heads, headChannels]),
        ])
      let ordered = network.add(
        "Transpose", [parts], ["perm": .integers([0, 2, 4, 1, 3, 5])])
      return network.add(
        "Reshape",
        [ordered, network.integers([rows * columns, heads, side * side, headChannels])])
    }
    let queries = divided(node.inputs[0].node, shape.window, &self)
    let keys = divided(node.inputs[1].node, shape.keys, &self)
    let products = add(
      "MatMul", [queries, add("Transpose", [keys], ["perm": .integers([0, 1, 3, 2])])])
    let weights = add(
      "Add",
      [
        add("Div", [products, floats([Float(headChannels)], [])]),
        biases(
          node.inputs[2].node, heads: heads, positions: shape.positions,
          queries: shape.window * shape.window, keys: shape.keys * shape.keys),
      ])
    set(
      index, .channelsLast,
      joined(
        add("MatMul", [weights, keys]), rows: (rows, shape.window),
        columns: (columns, shape.window), heads: heads, headChannels: headChannels))
  }
}
