import CKernels

/// The division of an image into windows for an attention between channels.
enum ChannelAttentionDivision: Hashable, Sendable {
  /// Windows of `side` × `side` pixels.
  case side(Int)
  /// `count` × `count` windows.
  case count(Int)

  /// Returns the size of a window; `nil` where the image does not divide into windows.
  func window(height: Int, width: Int) -> (height: Int, width: Int)? {
    switch self {
    case .side(let side):
      height % side == 0 && width % side == 0 ? (side, side) : nil
    case .count(let count):
      height % count == 0 && width % count == 0 ? (height / count, width / count) : nil
    }
  }
}

/// Attention between the channels of a head, as vectors over the pixels of each window: they are
/// compared by the cosines of their angles, and mixed by softmax(temperature · cosine).
struct GridChannelAttention: Sendable {
  let division: ChannelAttentionDivision
  /// One per head.
  let temperature: [Float]

  /// - Parameter x: queries, keys and values, one after another.
  func run(
    _ x: GraphInference.View, to y: GraphInference.View, _ context: ForwardContext
  ) throws {
    guard let window = division.window(height: x.height, width: x.width) else {
      preconditionFailure("the size of the image was checked")
    }
    let (channels, columns) = (y.channels, x.width / window.width)
    let size = channels / temperature.count
    let pixels = window.height * window.width
    try context.map(
      columns * (x.height / window.height), by: 1,
      scratchCount: 3 * pixels * channels + channels * size
    ) { windows, scratch in
      let products = scratch + 3 * pixels * channels
      for index in windows {
        let (top, left) = (
          index / columns * window.height, index % columns * window.width
        )
        func pixel(_ number: Int, of view: GraphInference.View) -> UnsafeMutablePointer<Float> {
          view.pixel(top + number / window.width, left + number % window.width)
        }
        for number in 0..<pixels {
          (scratch + number * 3 * channels).update(
            from: pixel(number, of: x), count: 3 * channels)
        }
        normalize(scratch, pixels, channels)
        products.update(repeating: 0, count: channels * size)
        for number in 0..<pixels {
          let query = scratch + number * 3 * channels
          for channel in 0..<channels {
            let key = query + channels + channel / size * size
            let target = products + channel * size
            for other in 0..<size { target[other] += query[channel] * key[other] }
          }
        }
        for place in 0..<channels * size { products[place] *= temperature[place / size / size] }
        ck_softmax(products, channels, size)
        for number in 0..<pixels {
          let value = scratch + number * 3 * channels + 2 * channels
          let target = pixel(number, of: y)
          for channel in 0..<channels {
            let weights = products + channel * size
            let source = value + channel / size * size
            var sum: Float = 0
            for other in 0..<size { sum += weights[other] * source[other] }
            target[channel] = sum
          }
        }
      }
    }
  }

  /// Divides every channel of the queries and keys by its norm over the pixels, which is at least
  /// 10⁻¹², as in PyTorch.
  private func normalize(_ rows: UnsafeMutablePointer<Float>, _ pixels: Int, _ channels: Int) {
    var factors = [Float](repeating: 0, count: 2 * channels)
    factors.withUnsafeMutableBufferPointer { factors in
      for number in 0..<pixels {
        let row = rows + number * 3 * channels
        for channel in 0..<2 * channels { factors[channel] += row[channel] * row[channel] }
      }
      for channel in 0..<2 * channels {
        factors[channel] = 1 / max(1e-12, factors[channel].squareRoot())
      }
      for number in 0..<pixels {
        let row = rows + number * 3 * channels
        for channel in 0..<2 * channels { row[channel] *= factors[channel] }
      }
    }
  }
}
