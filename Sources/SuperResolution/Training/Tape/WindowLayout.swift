/// Where an attention within windows finds its tokens' neighbours: the order of tokens by windows,
/// which mask a window needs, and which entry of a table holds the bias of two tokens.
///
/// It depends on the picture's size alone, and is made once for all patches of that size.
struct WindowLayout: Sendable {
  let order: RowOrder
  let windowCount: Int
  /// Tokens of a window.
  let tokenCount: Int
  /// 0 or −100 for each query and key, `[kind, tokens, tokens]`.
  let masks: [Float]
  /// By window: which mask it needs.
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
    // A table of row numbers gives the row numbers, by keys first; floats hold them exactly.
    let byKeys = grid.positionBiases(table: (0..<entries).map(Float.init), heads: 1)
    let count = grid.tokenCount
    positions = (0..<count * count).map { Int32(byKeys[$0 % count * count + $0 / count]) }
    positionCount = entries
    // Likewise for tokens, which count from 1 since those outside the picture become 0.
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
