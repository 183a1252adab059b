/// The windows of a correlation and its heads.
struct CorrelationShape: Hashable, Sendable {
  var heads: Int
  /// The side of a window of queries, into which the image divides.
  var window: Int
  /// The pixels of a window, in each direction, for which one key stands.
  var cell: Int

  /// The side of a window of keys.
  var keys: Int { window / cell }
  /// The side of the table of biases: of the relative positions of queries and cells.
  var span: Int { 2 * window - cell }

  /// The row of the table of biases for each query and key, `[queries, keys]`.
  var positions: [Int] {
    (0..<window * window).flatMap { query in
      (0..<keys * keys).map { key in
        let down = query / window - key / keys * cell + window - cell
        let right = query % window - key % keys * cell + window - cell
        return down * span + right
      }
    }
  }

  /// Returns the bias of every query and key, `[heads, queries, keys]`.
  ///
  /// - Parameter table: one row per relative position, `[span², heads]`.
  func biases(table: [Float]) -> [Float] {
    precondition(table.count == span * span * heads)
    let positions = positions
    return (0..<heads).flatMap { head in positions.map { table[$0 * heads + head] } }
  }

  /// Computes (q kᵀ / n + bias) k for every head of n channels: attention without softmax whose values
  /// are the keys (Zhang et al. 2024, "HiT-SR", spatial self-correlation).
  ///
  /// - Parameters:
  ///   - queries: one per pixel.
  ///   - keys: one per cell.
  ///   - table: as for `biases`.
  func run(
    _ queries: GraphInference.View, keys: GraphInference.View, table: GraphInference.View,
    to y: GraphInference.View, _ context: ForwardContext
  ) throws {
    let (channels, columns) = (y.channels, y.width / window)
    let (size, pixels, cells) = (channels / heads, window * window, self.keys * self.keys)
    let biases = biases(table: table.values())
    let layers = (0..<heads).map { head in
      Linear(
        weight: Array(biases[head * pixels * cells..<(head + 1) * pixels * cells]), bias: nil,
        outputs: pixels, inputs: cells)
    }
    try context.map(
      columns * (y.height / window), by: 1,
      scratchCount: channels * (cells + pixels + size)
    ) { windows, scratch in
      let transposed = scratch + channels * cells
      let products = transposed + channels * pixels
      for index in windows {
        let (row, column) = (index / columns, index % columns)
        for key in 0..<cells {
          let source = keys.pixel(
            row * self.keys + key / self.keys, column * self.keys + key % self.keys)
          for channel in 0..<channels { scratch[channel * cells + key] = source[channel] }
        }
        for (head, layer) in layers.enumerated() {
          layer.apply(
            rows: size, scratch + head * size * cells, stride: cells,
            to: transposed + head * size * pixels, stride: pixels)
        }
        // (q kᵀ) k is q (kᵀ k), which has far fewer products.
        for channel in 0..<channels {
          for other in 0..<size {
            products[channel * size + other] =
              dotProduct(
                scratch + channel * cells, scratch + (channel / size * size + other) * cells, cells)
              / Float(size)
          }
        }
        for pixel in 0..<pixels {
          let place = (row * window + pixel / window, column * window + pixel % window)
          let (query, target) = (queries.pixel(place.0, place.1), y.pixel(place.0, place.1))
          for channel in 0..<channels {
            let head = query + channel / size * size
            let weights = products + channel * size
            var sum = transposed[channel * pixels + pixel]
            for other in 0..<size { sum += head[other] * weights[other] }
            target[channel] = sum
          }
        }
      }
    }
  }
}
