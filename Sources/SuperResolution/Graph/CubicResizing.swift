/// A factor of a side's length: so many pixels become so many.
struct PixelRatio: Hashable, Sendable {
  let from: Int
  let to: Int

  /// - Parameter factor: how many pixels each becomes.
  init(_ factor: Int) { (from, to) = (1, factor) }

  /// Finds the ratio that a factor stands for.
  ///
  /// - Returns: `nil` where 16 pixels do not become a whole number of them.
  init?(_ factor: Float) {
    guard factor > 0, factor <= 64,
      let from = (1...16).first(where: { (factor * Float($0)).rounded() == factor * Float($0) })
    else { return nil }
    (self.from, to) = (from, Int(factor * Float(from)))
  }

  var factor: Float { Float(to) / Float(from) }

  /// Returns the length of a side of `count` pixels; `nil` where that is not whole.
  func side(of count: Int) -> Int? {
    count * to % from == 0 ? count * to / from : nil
  }
}

/// Bicubic interpolation to so many times the size, as PyTorch computes it: corner pixels' centres lie
/// half a pixel from the edge, edges are repeated, and the kernel is Keys' with a = −¾, however small
/// the result.
struct CubicResizing: Sendable {
  private let ratio: PixelRatio
  /// For each of the pixels that some become together, the first of four of these and their weights.
  private let taps: [(first: Int, weights: [Float])]

  init(_ ratio: PixelRatio) {
    self.ratio = ratio
    taps = (0..<ratio.to).map { place in
      let center = (Float(place) + 0.5) / ratio.factor - 0.5
      let below = center.rounded(.down)
      let share = center - below
      return (
        Int(below) - 1,
        [share + 1, share, 1 - share, 2 - share].map(Self.kernel)
      )
    }
  }

  private static func kernel(_ x: Float) -> Float {
    let a: Float = -0.75
    return x <= 1
      ? ((a + 2) * x - (a + 3)) * x * x + 1 : ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
  }

  /// Returns the rows of an input of `count` on which a row of the result depends, and their weights.
  func weights(_ place: Int, of count: Int) -> [(row: Int, weight: Float)] {
    let (first, weights) = taps[place % ratio.to]
    let start = place / ratio.to * ratio.from + first
    return weights.enumerated().map { offset, weight in
      (min(max(start + offset, 0), count - 1), weight)
    }
  }

  /// Makes some rows of the result.
  func make(_ rows: Range<Int>, of y: GraphInference.View, from x: GraphInference.View) {
    let columns = (0..<y.width).map { weights($0, of: x.width) }
    for row in rows {
      let down = weights(row, of: x.height)
      for (column, right) in columns.enumerated() {
        let target = y.pixel(row, column)
        for channel in 0..<y.channels { target[channel] = 0 }
        for (fromRow, rowWeight) in down {
          for (fromColumn, weight) in right {
            let source = x.pixel(fromRow, fromColumn)
            for channel in 0..<y.channels {
              target[channel] += rowWeight * weight * source[channel]
            }
          }
        }
      }
    }
  }
}
