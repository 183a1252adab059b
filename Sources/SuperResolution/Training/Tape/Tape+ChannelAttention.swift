import CKernels
import LinearAlgebra

extension Tape {
  /// Runs attention between channels in every window: a head's channels, as vectors over the window's
  /// tokens, are compared, and mixed by `softmax(temperature · cosine)`. q and k (normalized to a root
  /// mean square of 1), v and the softmax's result are rounded by the quantizers of their sites.
  /// Without temperatures, the average products of q and k mix v as they are.
  ///
  /// - Parameters:
  ///   - x: queries, keys and values side by side, `[windows · tokens, 3 · columns]`.
  ///   - temperature: `[heads]`.
  func channelAttention(
    _ x: Variable, windows: Int = 1, heads: Int, temperature: ParameterReference?,
    sites: AttentionSites?
  ) -> Variable {
    precondition(temperature.map { $0.count == heads } ?? true, "one temperature per head")
    let (tokens, columns) = (x.rows / windows, x.columns / 3)
    let passes = (0..<windows).map { window in
      ChannelAttentionPass(
        x, rows: window * tokens..<(window + 1) * tokens, heads: heads, temperature: temperature,
        sites, self)
    }
    let y = result(
      rows: x.rows, columns: columns,
      needsGradient: x.needsGradient || temperature.map { gradient($0) != nil } ?? false
        || passes[0].isLearning)
    for (window, pass) in passes.enumerated() { pass.run(to: y.values + window * tokens * columns) }
    record(y) { [pool] gradient in
      let dx = pool.take(x.count)
      for (window, pass) in passes.enumerated() {
        let first = window * tokens * columns
        pass.differentiate(gradient.pointer + first, to: dx.pointer + 3 * first)
      }
      x.add(gradient: dx)
    }
    return y
  }
}

private final class ChannelAttentionPass {
  let columns: Int
  let isLearning: Bool
  /// The rows of the window.
  private let x: UnsafePointer<Float>
  private let rows: Int
  private let tape: Tape
  private let temperature: ParameterReference?
  private let heads: Int
  private let width: Int
  private let quantizers: [SiteQuantizer?]
  private let probability: SiteQuantizer?
  /// Queries and keys with a root mean square of 1, and values, `[tokens, 3 · columns]`, before
  /// rounding and after it (the same buffer if nothing is rounded).
  private let normalized: BufferPool.Buffer
  private let rounded: BufferPool.Buffer
  /// The reciprocal root mean square of every channel of the queries and keys.
  private let inverseDeviations: BufferPool.Buffer
  /// `[heads, width, width]`, as the next two.
  private let cosines: BufferPool.Buffer
  private let probabilities: BufferPool.Buffer
  private let roundedProbabilities: BufferPool.Buffer

  init(
    _ x: Variable, rows: Range<Int>, heads: Int, temperature: ParameterReference?,
    _ sites: AttentionSites?, _ tape: Tape
  ) {
    (self.temperature, self.tape, self.heads) = (temperature, tape, heads)
    self.x = UnsafePointer(x.values + rows.lowerBound * x.columns)
    self.rows = rows.count
    columns = x.columns / 3
    let count = rows.count * x.columns
    width = columns / heads
    precondition(x.columns == 3 * width * heads, "another number of columns")
    quantizers =
      sites.map { [$0.query, $0.key, $0.value].map(tape.quantizer) } ?? [nil, nil, nil]
    probability = sites.flatMap { tape.quantizer(at: $0.probabilities) }
    isLearning = (quantizers + [probability]).contains { tape.isLearning($0) }
    let pool = tape.pool
    normalized = pool.take(count)
    rounded = quantizers.contains { $0 != nil } ? pool.take(count) : normalized
    inverseDeviations = pool.takeZeros(2 * columns)
    cosines = pool.take(columns * width)
    probabilities = pool.take(columns * width)
    roundedProbabilities = probability == nil ? probabilities : pool.take(columns * width)
  }

  private var stride: Int { 3 * columns }
  /// The weight of one token in an average over all tokens.
  private var share: Float { 1 / Float(rows) }

  private func part(
    _ index: Int, _ head: Int, of rows: UnsafePointer<Float>, isTransposed: Bool = false
  ) -> SinglePrecisionOperand {
    SinglePrecisionOperand(
      rows + index * columns + head * width, stride: stride, isTransposed: isTransposed)
  }

  private func matrix(
    _ head: Int, of start: UnsafePointer<Float>, isTransposed: Bool = false
  ) -> SinglePrecisionOperand {
    SinglePrecisionOperand(start + head * width * width, stride: width, isTransposed: isTransposed)
  }

  // MARK: Forward

  func run(to y: UnsafeMutablePointer<Float>) {
    normalize()
    let area = width * width
    for head in 0..<heads {
      multiplySinglePrecision(
        rows: width, columns: width, inner: rows,
        part(0, head, of: rounded.pointer, isTransposed: true),
        part(1, head, of: rounded.pointer), to: cosines.pointer + head * area, stride: width)
      let factor = temperature.map { tape.values($0)[head] } ?? 1
      for index in head * area..<(head + 1) * area {
        cosines.pointer[index] *= share
        probabilities.pointer[index] = cosines.pointer[index] * factor
      }
    }
    if temperature != nil { ck_softmax(probabilities.pointer, columns, width) }
    probability?.apply(
      probabilities.pointer, rows: columns, columns: width, to: roundedProbabilities.pointer)
    for head in 0..<heads {
      multiplySinglePrecision(
        rows: rows, columns: width, inner: width, part(2, head, of: rounded.pointer),
        matrix(head, of: roundedProbabilities.pointer, isTransposed: true), to: y + head * width,
        stride: columns)
    }
  }

  private func normalize() {
    let inverse = inverseDeviations.pointer
    for row in 0..<rows {
      let source = x + row * stride
      for column in 0..<2 * columns { inverse[column] += source[column] * source[column] }
    }
    // PyTorch's `normalize` divides by a length of at least 10⁻¹².
    let least = 1e-12 * share.squareRoot()
    for column in 0..<2 * columns {
      inverse[column] =
        temperature == nil ? 1 : 1 / max(least, (inverse[column] * share).squareRoot())
    }
    for row in 0..<rows {
      let (source, target) = (x + row * stride, normalized.pointer + row * stride)
      for column in 0..<2 * columns { target[column] = source[column] * inverse[column] }
      for column in 2 * columns..<3 * columns { target[column] = source[column] }
      guard rounded !== normalized else { continue }
      for (index, quantizer) in quantizers.enumerated() {
        let (from, to) = (
          target + index * columns, rounded.pointer + row * stride + index * columns
        )
        if let quantizer {
          quantizer.apply(from, columns: columns, to: to)
        } else {
          to.update(from: from, count: columns)
        }
      }
    }
  }

  // MARK: Backward

  /// Writes the gradient of the window's rows, and adds to those of the temperatures and bounds.
  func differentiate(_ dy: UnsafePointer<Float>, to dx: UnsafeMutablePointer<Float>) {
    let (pool, area) = (tape.pool, width * width)
    var sums = [ck_bound_gradient](repeating: ck_bound_gradient(), count: 4)
    pool.withScratch(columns * width) { dScores in
      for head in 0..<heads {
        let dOut = SinglePrecisionOperand(dy + head * width, stride: columns)
        multiplySinglePrecision(
          rows: rows, columns: width, inner: width, dOut,
          matrix(head, of: roundedProbabilities.pointer), to: dx + 2 * columns + head * width,
          stride: stride)
        multiplySinglePrecision(
          rows: width, columns: width, inner: rows,
          SinglePrecisionOperand(dy + head * width, stride: columns, isTransposed: true),
          part(2, head, of: rounded.pointer), to: dScores + head * area, stride: width)
      }
      probability?.differentiate(
        probabilities.pointer, rows: columns, columns: width, dScores, &sums[3])
      if temperature != nil {
        ck_softmax_gradient(probabilities.pointer, dScores, columns, width, nil)
      }
      for head in 0..<heads { differentiate(head, dScores + head * area, to: dx) }
    }
    straightThrough(dx, &sums)
    if temperature != nil { differentiateDeviations(dx) }
    for (quantizer, sum) in zip(quantizers + [probability], sums) {
      if let quantizer { tape.add(sum, to: quantizer) }
    }
  }

  /// Turns the gradient of one head's scaled cosines into those of its queries and keys.
  private func differentiate(
    _ head: Int, _ d: UnsafeMutablePointer<Float>, to dx: UnsafeMutablePointer<Float>
  ) {
    let area = width * width
    if let temperature, let target = tape.gradient(temperature) {
      target[head] += dotProduct(d, cosines.pointer + head * area, area)
    }
    let factor = (temperature.map { tape.values($0)[head] } ?? 1) * share
    for index in 0..<area { d[index] *= factor }
    multiplySinglePrecision(
      rows: rows, columns: width, inner: width, part(1, head, of: rounded.pointer),
      SinglePrecisionOperand(d, stride: width, isTransposed: true), to: dx + head * width,
      stride: stride)
    multiplySinglePrecision(
      rows: rows, columns: width, inner: width, part(0, head, of: rounded.pointer),
      SinglePrecisionOperand(d, stride: width), to: dx + columns + head * width, stride: stride)
  }

  private func straightThrough(
    _ dx: UnsafeMutablePointer<Float>, _ sums: inout [ck_bound_gradient]
  ) {
    for (index, quantizer) in quantizers.enumerated() {
      guard let quantizer else { continue }
      let first = index * columns
      quantizer.differentiate(
        normalized.pointer + first, rows: rows, columns: columns, stride: stride, dx + first,
        &sums[index])
    }
  }

  /// With n = x / σ and σ² = ‖x‖² / tokens, computes `dx = (dn − n (n · dn) / tokens) / σ`.
  private func differentiateDeviations(_ dx: UnsafeMutablePointer<Float>) {
    let both = 2 * columns
    tape.pool.withScratch(both) { products in
      products.update(repeating: 0, count: both)
      for row in 0..<rows {
        let (n, d) = (normalized.pointer + row * stride, dx + row * stride)
        for column in 0..<both { products[column] += n[column] * d[column] }
      }
      for row in 0..<rows {
        let (n, d) = (normalized.pointer + row * stride, dx + row * stride)
        for column in 0..<both {
          d[column] =
            (d[column] - n[column] * products[column] * share) * inverseDeviations.pointer[column]
        }
      }
    }
  }
}
