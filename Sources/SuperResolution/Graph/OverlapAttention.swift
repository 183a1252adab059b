/// The windows of an attention from each window of queries to a larger one around it.
struct OverlapAttentionShape: Hashable, Sendable {
  var heads: Int
  /// The side of a window of queries, into which the image divides.
  var window: Int
  /// The side of the window of keys and values; those outside the image are zero.
  var overlap: Int

  /// The rows and columns by which the larger window begins before the smaller one.
  var margin: Int { (overlap - window) / 2 }

  /// The side of the table of biases.
  var span: Int { window + overlap - 1 }

  /// The row of the table of biases for each key and query, `[keys, queries]`.
  ///
  /// Positions are counted as the original code counts them, from both windows' first pixels; what is
  /// negative counts from the table's end.
  var positions: [Int] {
    let first = window - overlap + 1
    return (0..<overlap * overlap).flatMap { key in
      (0..<window * window).map { query in
        let down = key / overlap - query / window + first
        let right = key % overlap - query % window + first
        let row = down * span + right
        return row < 0 ? row + span * span : row
      }
    }
  }

  /// Returns the bias of every key and query, `[heads, keys, queries]`.
  ///
  /// - Parameter table: one row per relative position, `[span², heads]`.
  func biases(table: [Float]) -> [Float] {
    precondition(table.count == span * span * heads)
    let positions = positions
    return (0..<heads).flatMap { head in positions.map { table[$0 * heads + head] } }
  }

  /// Floats of scratch memory that `run` gives each thread, for a result of `channels`.
  func scratchCount(channels: Int) -> Int {
    2 * (overlap * overlap + window * window) * channels + attention(channels).scratchCount
  }

  private func attention(_ channels: Int) -> WindowAttention {
    let size = channels / heads
    return WindowAttention(
      queries: window * window, keys: overlap * overlap, head: size,
      scale: 1 / Float(size).squareRoot())
  }

  /// Computes softmax(q kᵀ / √n + bias) v for every head of n channels.
  ///
  /// - Parameters:
  ///   - x: queries, keys and values, one after another.
  ///   - biases: the result of `biases(table:)`.
  func run(
    _ x: GraphInference.View, to y: GraphInference.View, biases: [Float],
    _ context: ForwardContext
  ) throws {
    let (channels, columns) = (y.channels, x.width / window)
    let (queries, keys, size) = (window * window, overlap * overlap, channels / heads)
    let attention = attention(channels)
    try context.map(
      columns * (x.height / window), by: 1,
      scratchCount: scratchCount(channels: channels)
    ) { windows, scratch in
      let (k, v) = (scratch, scratch + keys * channels)
      let q = v + keys * channels
      let out = q + queries * channels
      for index in windows {
        let (top, left) = (index / columns * window, index % columns * window)
        for query in 0..<queries {
          (q + query * channels).update(
            from: x.pixel(top + query / window, left + query % window), count: channels)
        }
        for key in 0..<keys {
          let (row, column) = (top + key / overlap - margin, left + key % overlap - margin)
          guard (0..<x.height).contains(row), (0..<x.width).contains(column) else {
            (k + key * channels).update(repeating: 0, count: channels)
            (v + key * channels).update(repeating: 0, count: channels)
            continue
          }
          let pixel = x.pixel(row, column)
          (k + key * channels).update(from: pixel + channels, count: channels)
          (v + key * channels).update(from: pixel + 2 * channels, count: channels)
        }
        biases.withUnsafeBufferPointer { biases in
          for head in 0..<heads {
            let first = head * size
            attention.apply(
              q: q + first, stride: channels, k: k + first, stride: channels, v: v + first,
              stride: channels,
              transposedBias: biases.baseAddress.map { $0 + head * keys * queries },
              transposedMask: nil, out: out + first, stride: channels,
              scratch: out + queries * channels)
          }
        }
        for query in 0..<queries {
          y.pixel(top + query / window, left + query % window).update(
            from: out + query * channels, count: channels)
        }
      }
    }
  }
}
