/// Where a place between pixels lies along one axis.
struct LinearPlace: Sendable {
  /// The pixels on both sides.
  let first: Int
  let second: Int
  /// The share of the second pixel.
  let share: Float

  /// - Parameters:
  ///   - place: in pixels from the first one's centre; beyond the ends, those count.
  ///   - count: the pixels along the axis.
  @inline(__always)
  init(_ place: Float, count: Int) {
    // A place that is no number is the first: an index must be one.
    let clamped = max(0, min(place, Float(count - 1)))
    first = clamped.isNaN ? 0 : Int(clamped)
    second = min(first + 1, count - 1)
    share = clamped - Float(first)
  }

  /// Returns `count` equally spaced places among `side` pixels.
  static func spread(from side: Int, to count: Int) -> [LinearPlace] {
    let scale = Float(side) / Float(count)
    return (0..<count).map { LinearPlace((Float($0) + 0.5) * scale - 0.5, count: side) }
  }
}

extension GraphInference.View {
  /// Writes the bilinear interpolation of some channels at a place to the same channels of `target`.
  @inline(__always)
  func interpolate(
    _ down: LinearPlace, _ right: LinearPlace, channels: Range<Int>,
    to target: UnsafeMutablePointer<Float>
  ) {
    let corners = (
      pixel(down.first, right.first), pixel(down.first, right.second),
      pixel(down.second, right.first), pixel(down.second, right.second)
    )
    for channel in channels {
      let upper = corners.0[channel] * (1 - right.share) + corners.1[channel] * right.share
      let lower = corners.2[channel] * (1 - right.share) + corners.3[channel] * right.share
      target[channel] = upper * (1 - down.share) + lower * down.share
    }
  }

  /// Writes the largest value of each channel in a rectangle.
  @inline(__always)
  func largest(_ rows: Range<Int>, _ columns: Range<Int>, to target: UnsafeMutablePointer<Float>) {
    target.update(from: pixel(rows.lowerBound, columns.lowerBound), count: channels)
    for row in rows {
      for column in columns {
        let source = pixel(row, column)
        for channel in 0..<channels { target[channel] = max(target[channel], source[channel]) }
      }
    }
  }
}
