import TestSupport
import Testing

@testable import SuperResolution

@Suite struct WindowGridTests {
  static let grids = [
    WindowGrid(height: 8, width: 12, window: (4, 4), shift: (0, 0), multiple: 4),
    WindowGrid(height: 8, width: 12, window: (4, 4), shift: (2, 2), multiple: 4),
    WindowGrid(height: 9, width: 5, window: (2, 6), shift: (1, 3), multiple: 6),
    WindowGrid(height: 4, width: 4, window: (4, 4), shift: (2, 2), multiple: 4),
  ]

  /// Returns the token of the image at a place of a window, by the definition of a cyclic shift.
  private func token(_ grid: WindowGrid, _ window: Int, _ place: Int) -> Int? {
    let y =
      (window / grid.columns * grid.windowHeight + place / grid.windowWidth + grid.shiftDown)
      % (grid.rows * grid.windowHeight)
    let x =
      (window % grid.columns * grid.windowWidth + place % grid.windowWidth + grid.shiftRight)
      % (grid.columns * grid.windowWidth)
    return y < grid.height && x < grid.width ? y * grid.width + x : nil
  }

  @Test(arguments: grids.indices)
  func gatheringFollowsCyclicShift(index: Int) {
    let grid = Self.grids[index]
    let (stride, channels) = (5, 2)
    var image = (0..<grid.height * grid.width * stride).map(Float.init)
    var rows = [Float](repeating: -1, count: grid.tokenCount * channels)
    var back = [Float](repeating: -1, count: image.count)
    for window in 0..<grid.windowCount {
      image.withUnsafeBufferPointer { x in
        rows.withUnsafeMutableBufferPointer { y in
          guard let x = x.baseAddress, let y = y.baseAddress else { return }
          grid.gather(window, from: x + 1, stride: stride, channels: channels, to: y)
        }
      }
      for place in 0..<grid.tokenCount {
        let token = token(grid, window, place)
        for channel in 0..<channels {
          let expected = token.map { Float($0 * stride + 1 + channel) } ?? 0
          #expect(rows[place * channels + channel] == expected)
        }
      }
      rows.withUnsafeBufferPointer { x in
        back.withUnsafeMutableBufferPointer { y in
          guard let x = x.baseAddress, let y = y.baseAddress else { return }
          grid.scatter(window, from: x, channels: channels, to: y + 1, stride: stride)
        }
      }
    }
    // Every token is back in its place, and the elements beside it are untouched.
    for place in image.indices where !(1...channels).contains(place % stride) {
      image[place] = -1
    }
    #expect(back == image)
  }

  /// Tokens are kept apart exactly when the shift has carried one but not the other around an edge.
  @Test(arguments: grids.indices)
  func masksSeparateTokensWrappedByShift(index: Int) {
    let grid = Self.grids[index]
    let masks = grid.masks()
    for window in 0..<grid.windowCount {
      let kind = grid.maskKind(window)
      for query in 0..<grid.tokenCount {
        for key in 0..<grid.tokenCount {
          let isApart = wraps(grid, window, query) != wraps(grid, window, key)
          let mask = kind.map {
            masks[($0 * grid.tokenCount + query) * grid.tokenCount + key]
          }
          #expect((mask ?? 0) == (isApart ? -100 : 0))
        }
      }
    }
  }

  private func wraps(_ grid: WindowGrid, _ window: Int, _ place: Int) -> [Bool] {
    [
      window / grid.columns * grid.windowHeight + place / grid.windowWidth + grid.shiftDown
        >= grid.rows * grid.windowHeight,
      window % grid.columns * grid.windowWidth + place % grid.windowWidth + grid.shiftRight
        >= grid.columns * grid.windowWidth,
    ]
  }
}
