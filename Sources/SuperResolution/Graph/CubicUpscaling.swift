/// Bicubic interpolation to `factor` times the size, as PyTorch computes it: corner pixels' centres lie
/// half a pixel from the edge, edges are repeated, and the kernel is Keys' with a = −¾.
struct CubicUpscaling: Sendable {
  private let factor: Int
  /// For each place within a pixel, the first of four pixels, counted from that pixel, and their weights.
  private let taps: [(first: Int, weights: [Float])]

  init(factor: Int) {
    self.factor = factor
    taps = (0..<factor).map { place in
      let center = (Float(place) + 0.5) / Float(factor) - 0.5
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
    let (first, weights) = taps[place % factor]
    return weights.enumerated().map { offset, weight in
      (min(max(place / factor + first + offset, 0), count - 1), weight)
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
