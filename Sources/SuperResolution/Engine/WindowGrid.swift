import Storage

/// The division of an image into windows for attention, shifted cyclically by a part of a window.
///
/// Where the image is not a multiple of the window, tokens outside it are zero.
struct WindowGrid: Sendable {
  /// The size of the image in tokens.
  let height: Int
  let width: Int
  /// The size of a window in tokens.
  let windowHeight: Int
  let windowWidth: Int
  /// The shift of windows down and right from the multiples of their size.
  let shiftDown: Int
  let shiftRight: Int
  /// The number of windows in each direction.
  let rows: Int
  let columns: Int

  /// - Parameter multiple: one of the window's sides; the image is padded to multiples of it.
  init(
    height: Int, width: Int, window: (height: Int, width: Int), shift: (down: Int, right: Int),
    multiple: Int
  ) {
    self.height = height
    self.width = width
    windowHeight = window.height
    windowWidth = window.width
    shiftDown = shift.down
    shiftRight = shift.right
    rows = height.roundedUp(toMultipleOf: multiple) / window.height
    columns = width.roundedUp(toMultipleOf: multiple) / window.width
  }

  var windowCount: Int { rows * columns }
  /// The number of tokens in a window.
  var tokenCount: Int { windowHeight * windowWidth }

  // MARK: Tokens

  /// Copies `channels` values of every token of a window into rows without gaps.
  func gather(
    _ window: Int, from x: UnsafePointer<Float>, stride: Int, channels: Int,
    to y: UnsafeMutablePointer<Float>
  ) {
    forEachRun(window) { place, token, count in
      let target = y + place * channels
      guard let token else { return target.update(repeating: 0, count: count * channels) }
      let source = x + token * stride
      if stride == channels { return target.update(from: source, count: count * channels) }
      for index in 0..<count {
        (target + index * channels).update(from: source + index * stride, count: channels)
      }
    }
  }

  /// Reverses `gather`; tokens outside the image are dropped.
  func scatter(
    _ window: Int, from x: UnsafePointer<Float>, channels: Int,
    to y: UnsafeMutablePointer<Float>, stride: Int
  ) {
    forEachRun(window) { place, token, count in
      guard let token else { return }
      let source = x + place * channels
      let target = y + token * stride
      if stride == channels { return target.update(from: source, count: count * channels) }
      for index in 0..<count {
        (target + index * stride).update(from: source + index * channels, count: channels)
      }
    }
  }

  /// Calls `body` with runs of tokens that are contiguous in the window and in the image.
  ///
  /// - Parameter token: the number of the first token in the image, `nil` for tokens outside it.
  func forEachRun(
    _ window: Int, _ body: (_ place: Int, _ token: Int?, _ count: Int) -> Void
  ) {
    let (paddedHeight, paddedWidth) = (rows * windowHeight, columns * windowWidth)
    let (top, left) = (window / columns * windowHeight, window % columns * windowWidth)
    for row in 0..<windowHeight {
      let y = (top + row + shiftDown) % paddedHeight
      var column = 0
      while column < windowWidth {
        let x = (left + column + shiftRight) % paddedWidth
        let isOutside = y >= height || x >= width
        let count = min(windowWidth - column, (isOutside ? paddedWidth : width) - x)
        body(row * windowWidth + column, isOutside ? nil : y * width + x, count)
        column += count
      }
    }
  }

  // MARK: Masks

  /// Returns the masks that separate tokens brought together only by the cyclic shift: 0 or −100
  /// for each query and key, `[kind, tokens, tokens]` and symmetric, for the kinds that `maskKind`
  /// returns.
  func masks() -> [Float] {
    guard shiftDown > 0 || shiftRight > 0 else { return [] }
    var masks: [Float] = []
    masks.reserveCapacity(3 * tokenCount * tokenCount)
    for kind in 1...3 {
      let regions = (0..<tokenCount).map { token in
        let isBelow = kind & 1 != 0 && token / windowWidth >= windowHeight - shiftDown
        let isRight = kind & 2 != 0 && token % windowWidth >= windowWidth - shiftRight
        return (isBelow ? 2 : 0) + (isRight ? 1 : 0)
      }
      for query in regions { masks += regions.map { $0 == query ? 0 : -100 } }
    }
    return masks
  }

  /// Returns the kind of mask that a window needs; `nil` if it needs no mask.
  func maskKind(_ window: Int) -> Int? {
    let isLast = shiftDown > 0 && window / columns == rows - 1
    let isRightmost = shiftRight > 0 && window % columns == columns - 1
    let kind = (isLast ? 1 : 0) + (isRightmost ? 2 : 0)
    return kind == 0 ? nil : kind - 1
  }

  /// Returns the mask of a window among the result of `masks`.
  func mask(
    _ window: Int, in masks: UnsafePointer<Float>?
  ) -> UnsafePointer<Float>? {
    guard let masks, let kind = maskKind(window) else { return nil }
    return masks + kind * tokenCount * tokenCount
  }

  // MARK: Positions

  /// Returns the relative positions in a window: how far down and to the right, from the smallest on,
  /// `[(2·height − 1)·(2·width − 1), 2]`.
  static func offsets(height: Int, width: Int) -> [Float] {
    ((1 - height)..<height).flatMap { down in
      ((1 - width)..<width).flatMap { right in [Float(down), Float(right)] }
    }
  }

  /// Returns the bias of every key and query, `[heads, keys, queries]`, from a table with the bias
  /// of every relative position, `[(2·height − 1)·(2·width − 1), heads]`.
  func positionBiases(table: [Float], heads: Int) -> [Float] {
    let span = 2 * windowWidth - 1
    precondition(table.count == (2 * windowHeight - 1) * span * heads)
    var biases: [Float] = []
    biases.reserveCapacity(heads * tokenCount * tokenCount)
    for head in 0..<heads {
      for key in 0..<tokenCount {
        let (keyRow, keyColumn) = (key / windowWidth, key % windowWidth)
        for queryRow in 0..<windowHeight {
          let row = queryRow - keyRow + windowHeight - 1
          for queryColumn in 0..<windowWidth {
            let column = queryColumn - keyColumn + windowWidth - 1
            biases.append(table[(row * span + column) * heads + head])
          }
        }
      }
    }
    return biases
  }
}
