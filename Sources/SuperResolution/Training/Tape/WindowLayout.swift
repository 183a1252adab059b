/// The indices that an attention within windows needs: the order of queries and of keys by windows, the
/// mask of each window, and the table entry with the bias of a query and a key.
///
/// The layout depends only on the size of the image, and is computed once for all patches of that
/// size.
struct WindowLayout: Sendable {
  let order: RowOrder
  /// The order of keys and values, of which several windows may have the same.
  let keyOrder: RowOrder
  let windowCount: Int
  /// Queries in a window.
  let tokenCount: Int
  /// Keys in a window.
  let keyCount: Int
  /// 0 or −100 for each query and key, `[kind, queries, keys]`.
  let masks: [Float]
  /// The mask that each window needs, by window.
  let maskKinds: [Int?]
  /// The row of the table of relative positions for each query and key, `[queries, keys]`.
  let positions: [Int32]
  /// Rows of that table.
  let positionCount: Int

  init(_ grid: WindowGrid) {
    windowCount = grid.windowCount
    tokenCount = grid.tokenCount
    keyCount = grid.tokenCount
    masks = grid.masks()
    maskKinds = (0..<grid.windowCount).map(grid.maskKind)
    let entries = (2 * grid.windowHeight - 1) * (2 * grid.windowWidth - 1)
    // With row numbers as the table, the biases are row numbers, keys first; floats hold them
    // exactly.
    let byKeys = grid.positionBiases(table: (0..<entries).map(Float.init), heads: 1)
    let count = grid.tokenCount
    positions = (0..<count * count).map { Int32(byKeys[$0 % count * count + $0 / count]) }
    positionCount = entries
    // The same method gives the tokens. They count from 1, since those outside the image become 0.
    let tokens = (1...grid.height * grid.width).map(Float.init)
    var gathered = [Float](repeating: 0, count: windowCount * tokenCount)
    gathered.withUnsafeMutableBufferPointer { gathered in
      guard let start = gathered.baseAddress else { return }
      for window in 0..<grid.windowCount {
        grid.gather(
          window, from: tokens, stride: 1, channels: 1, to: start + window * grid.tokenCount)
      }
    }
    order = RowOrder(
      sources: gathered.map { Int32($0) - 1 }, sourceCount: grid.height * grid.width)
    keyOrder = order
  }

  /// The layout of windows of queries that attend to larger ones around them.
  ///
  /// - Precondition: the image divides into windows.
  init(_ shape: OverlapAttentionShape, height: Int, width: Int) {
    let side = shape.window
    order = .windows((side, side), height: height, width: width)
    keyOrder = .windows(
      (shape.overlap, shape.overlap), step: side, margin: shape.margin, height: height,
      width: width)
    windowCount = height / side * (width / side)
    tokenCount = shape.window * shape.window
    keyCount = shape.overlap * shape.overlap
    masks = []
    maskKinds = [Int?](repeating: nil, count: windowCount)
    let (queries, keys) = (tokenCount, keyCount)
    positionCount = shape.span * shape.span
    let byKeys = shape.positions
    positions = (0..<queries * keys).map { Int32(byKeys[$0 % keys * queries + $0 / keys]) }
  }
}

extension Tape {
  /// Returns the relative positions in a window: how far down and to the right, `[(2·height − 1)·(2·width
  /// − 1), 2]`.
  func offsets(height: Int, width: Int) -> Variable {
    let offsets = WindowGrid.offsets(height: height, width: width)
    let variable = result(rows: offsets.count / 2, columns: 2, needsGradient: false)
    variable.values.update(from: offsets, count: offsets.count)
    return variable
  }
}
