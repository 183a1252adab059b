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
///
/// Queries and keys are quantized as `√pixels` times their unit vectors. These values are around 1 in
/// images of every size, so the same bounds hold for all of them.
struct ChannelAttention: Sendable {
  let division: ChannelAttentionDivision
  /// One per head; `nil` where the average products of queries and keys mix the values as they are.
  let temperature: [Float]?
  let heads: Int
  let sites: AttentionSites?

  /// Floats of scratch memory that each thread has while `run` makes a result `[height, width,
  /// channels]`.
  func scratchCount(height: Int, width: Int, channels: Int) -> Int {
    guard let window = division.window(height: height, width: width) else { return 0 }
    let sums = 3 * channels * ForwardContext.summedAtOnce
    return window == (height, width) ? sums : 3 * window.height * window.width * channels + sums
  }

  /// - Parameters:
  ///   - x: queries, keys and values, one after another.
  ///   - y: may lie where the queries do.
  func run(
    _ x: GraphInference.View, to y: GraphInference.View, _ context: ForwardContext
  ) throws {
    guard let window = division.window(height: x.height, width: x.width) else {
      preconditionFailure("the size of the image was checked")
    }
    let (channels, columns) = (y.channels, x.width / window.width)
    if columns == 1, window.height == x.height { return try attend(x, to: y, context) }
    let (own, pixels) = (context.onOneThread, window.height * window.width)
    try context.map(
      columns * (x.height / window.height), by: 1, scratchCount: 3 * pixels * channels
    ) { windows, rows in
      let all = GraphInference.View(
        height: window.height, width: window.width, channels: 3 * channels, stride: 3 * channels,
        start: rows)
      let made = GraphInference.View(
        height: window.height, width: window.width, channels: channels, stride: 3 * channels,
        start: rows)
      for index in windows {
        let (top, left) = (index / columns * window.height, index % columns * window.width)
        for row in 0..<window.height {
          for column in 0..<window.width {
            all.pixel(row, column).update(
              from: x.pixel(top + row, left + column), count: 3 * channels)
          }
        }
        try attend(all, to: made, own)
        for row in 0..<window.height {
          for column in 0..<window.width {
            y.pixel(top + row, left + column).update(
              from: made.pixel(row, column), count: channels)
          }
        }
      }
    }
  }

  /// Computes the attention among the pixels of one window.
  private func attend(
    _ x: GraphInference.View, to y: GraphInference.View, _ context: ForwardContext
  ) throws {
    let (pixels, channels) = (x.height * x.width, y.channels)
    let size = channels / heads
    var weights = try products(x, channels, context)
    if let temperature {
      for index in weights.indices { weights[index] *= temperature[index / (size * size)] }
    }
    try weights.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return }
      if temperature != nil { ck_softmax(base, channels, size) }
      if let sites {
        try context.visit(sites.probabilities, base, rows: channels, columns: size, stride: size)
      }
    }
    // A linear layer whose weight is zero between heads mixes the values.
    var matrix = [Float](repeating: 0, count: channels * channels)
    for channel in 0..<channels {
      for other in 0..<size {
        matrix[channel * channels + channel / size * size + other] = weights[channel * size + other]
      }
    }
    let layer = Linear(weight: matrix, bias: nil, outputs: channels, inputs: channels)
    let atOnce = ForwardContext.summedAtOnce
    try context.map(pixels, by: atOnce, scratchCount: atOnce * channels) { range, scratch in
      let rows = x.start + range.lowerBound * x.stride + 2 * channels
      let made = y.start + range.lowerBound * y.stride
      guard let sites, context.isActive else {
        return layer.apply(
          rows: range.count, rows, stride: x.stride, to: made, stride: y.stride)
      }
      for row in 0..<range.count {
        (scratch + row * channels).update(from: rows + row * x.stride, count: channels)
      }
      try context.visit(
        sites.value, scratch, rows: range.count, columns: channels, stride: channels)
      layer.apply(rows: range.count, scratch, stride: channels, to: made, stride: y.stride)
    }
  }

  /// Returns the average products of queries and keys, `[heads, size, size]`; with a temperature, of
  /// those with a root mean square of 1.
  private func products(
    _ x: GraphInference.View, _ channels: Int, _ context: ForwardContext
  ) throws -> [Float] {
    let (pixels, size) = (x.height * x.width, channels / heads)
    let squares = try context.averages(pixels, count: 2 * channels) { range, sums in
      for pixel in range {
        let source = x.start + pixel * x.stride
        for column in 0..<2 * channels { sums[column] += source[column] * source[column] }
      }
    }
    // PyTorch's `normalize` divides by a norm of at least 10⁻¹².
    let least = 1e-12 / Float(pixels).squareRoot()
    let factors = squares.map { temperature == nil ? 1 : 1 / max(least, $0.squareRoot()) }
    return try context.averages(pixels, count: channels * size) { range, products in
      try context.scratch.withScratch(2 * channels * range.count) { normalized in
        for (row, pixel) in range.enumerated() {
          let (source, target) = (x.start + pixel * x.stride, normalized + row * 2 * channels)
          for column in 0..<2 * channels { target[column] = source[column] * factors[column] }
        }
        for (index, site) in [sites?.query, sites?.key].enumerated() {
          guard let site else { continue }
          try context.visit(
            site, normalized + index * channels, rows: range.count, columns: channels,
            stride: 2 * channels)
        }
        ck_head_products(
          range.count, channels, size, normalized, 2 * channels, normalized + channels,
          2 * channels, products)
      }
    }
  }
}
