/// The indices that an attention within windows needs: the order of tokens by windows, the mask of
/// each window, and the table entry with the bias of two tokens.
///
/// The layout depends only on the size of the image, and is computed once for all patches of that
/// size.
struct WindowLayout: Sendable {
  let order: RowOrder
  let windowCount: Int
  /// Tokens in a window.
  let tokenCount: Int
  /// 0 or −100 for each query and key, `[kind, tokens, tokens]`.
  let masks: [Float]
  /// The mask that each window needs, by window.
  let maskKinds: [Int?]
  /// The row of the table of relative positions for each query and key, `[tokens, tokens]`.
  let positions: [Int32]
  /// Rows of that table.
  let positionCount: Int

  init(_ grid: WindowGrid) {
    windowCount = grid.windowCount
    tokenCount = grid.tokenCount
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
