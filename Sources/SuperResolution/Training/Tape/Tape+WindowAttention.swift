import CKernels
import LinearAlgebra

/// The parameters of an attention within windows.
struct WindowAttentionSetting {
  let layout: WindowLayout
  let heads: Int
  let sites: AttentionSites
}

extension Tape {
  /// Computes `softmax(q kᵀ / √channels + bias + mask) v` in every window and head, with q
  /// (scaled), k, v and the result of the softmax rounded by the quantizers of their sites.
  ///
  /// - Parameters:
  ///   - x: queries, keys and values side by side, `[windows · tokens, 3 · columns]`.
  ///   - table: the bias of every relative position, `[positions, heads]`.
  /// - Returns: `[windows · tokens, columns]`, which `backward` does not read.
  ///
  /// The probabilities are kept for `backward`; quantized values are computed again there.
  func windowAttention(
    _ x: Variable, table: Variable, _ setting: WindowAttentionSetting
  ) -> Variable {
    let attention = WindowAttentionPass(x, table: table, setting, self)
    let y = result(
      rows: x.rows, columns: attention.columns,
      needsGradient: x.needsGradient || table.needsGradient || attention.isLearning)
    attention.run(to: y.values)
    record(y) { attention.differentiate($0.pointer) }
    return y
  }
}

private final class WindowAttentionPass {
  let columns: Int
  let isLearning: Bool
  private let x: Variable
  private let table: Variable
  private let layout: WindowLayout
  private let tape: Tape
  private let heads: Int
  private let tokens: Int
  private let width: Int
  private let scale: Float
  private let query: SiteQuantizer?
  private let key: SiteQuantizer?
  private let value: SiteQuantizer?
  private let probability: SiteQuantizer?
  /// `[windows, heads, tokens, tokens]`.
  private var probabilities: BufferPool.Buffer

  init(_ x: Variable, table: Variable, _ setting: WindowAttentionSetting, _ tape: Tape) {
    (self.x, self.table, self.tape) = (x, table, tape)
    (layout, heads) = (setting.layout, setting.heads)
    tokens = layout.tokenCount
    columns = x.columns / 3
    width = columns / heads
    precondition(x.rows == layout.windowCount * tokens && x.columns == 3 * width * heads)
    precondition(table.columns == heads && table.rows == layout.positionCount)
    scale = 1 / Float(width).squareRoot()
    query = tape.quantizer(at: setting.sites.query)
    key = tape.quantizer(at: setting.sites.key)
    value = tape.quantizer(at: setting.sites.value)
    probability = tape.quantizer(at: setting.sites.probabilities)
    isLearning = [query, key, value, probability].contains { tape.isLearning($0) }
    probabilities = tape.pool.take(layout.windowCount * heads * tokens * tokens)
  }

  private var area: Int { tokens * tokens }

  // MARK: Forward

  func run(to y: UnsafeMutablePointer<Float>) {
    let pool = tape.pool
    pool.withScratch(heads * area) { biases in
      spreadBiases(to: biases)
      pool.withScratch(tokens * 3 * columns) { rounded in
        pool.withScratch(area) { roundedProbabilities in
          for window in 0..<layout.windowCount {
            round(window, to: rounded)
            for head in 0..<heads {
              let scores = probabilities.pointer + (window * heads + head) * area
              score(window, head, rounded, bias: biases + head * area, to: scores)
              var factors = scores
              if let probability {
                probability.apply(
                  scores, rows: tokens, columns: tokens, to: roundedProbabilities)
                factors = roundedProbabilities
              }
              multiplySinglePrecision(
                rows: tokens, columns: width, inner: tokens,
                SinglePrecisionOperand(factors, stride: tokens),
                part(2, head, of: rounded), to: y + window * tokens * columns + head * width,
                stride: columns)
            }
          }
        }
      }
    }
  }

  /// Writes the bias of every query and key, `[heads, tokens, tokens]`.
  private func spreadBiases(to biases: UnsafeMutablePointer<Float>) {
    layout.positions.withUnsafeBufferPointer { positions in
      for head in 0..<heads {
        let target = biases + head * area
        for index in 0..<area { target[index] = table.values[Int(positions[index]) * heads + head] }
      }
    }
  }

  /// Writes the queries, keys and values of a window as they are multiplied, `[tokens, 3 ·
  /// columns]`.
  private func round(_ window: Int, to rounded: UnsafeMutablePointer<Float>) {
    let source = x.values + window * tokens * 3 * columns
    round(source, query, factor: scale, to: rounded)
    round(source + columns, key, factor: 1, to: rounded + columns)
    round(source + 2 * columns, value, factor: 1, to: rounded + 2 * columns)
  }

  private func round(
    _ source: UnsafePointer<Float>, _ quantizer: SiteQuantizer?, factor: Float,
    to target: UnsafeMutablePointer<Float>
  ) {
    if let quantizer {
      return quantizer.apply(
        source, factor: factor, rows: tokens, columns: columns, stride: 3 * columns, to: target)
    }
    for token in 0..<tokens {
      let (from, to) = (source + token * 3 * columns, target + token * 3 * columns)
      for column in 0..<columns { to[column] = from[column] * factor }
    }
  }

  /// Returns the queries (0), keys (1) or values (2) of a head.
  private func part(
    _ index: Int, _ head: Int, of rows: UnsafePointer<Float>, isTransposed: Bool = false
  ) -> SinglePrecisionOperand {
    SinglePrecisionOperand(
      rows + index * columns + head * width, stride: 3 * columns, isTransposed: isTransposed)
  }

  private func score(
    _ window: Int, _ head: Int, _ rounded: UnsafePointer<Float>, bias: UnsafePointer<Float>,
    to scores: UnsafeMutablePointer<Float>
  ) {
    multiplySinglePrecision(
      rows: tokens, columns: tokens, inner: width, part(0, head, of: rounded),
      part(1, head, of: rounded, isTransposed: true), to: scores, stride: tokens)
    layout.masks.withUnsafeBufferPointer { masks in
      let mask = layout.maskKinds[window].flatMap { kind in
        masks.baseAddress.map { $0 + kind * area }
      }
      ck_biased_softmax(scores, bias, mask, tokens, tokens)
    }
  }

  // MARK: Backward

  /// Adds to the gradients of the tokens, the table and the bounds.
  func differentiate(_ dy: UnsafePointer<Float>) {
    let pool = tape.pool
    let dx = pool.take(x.count)
    var sums = [ck_bound_gradient](repeating: ck_bound_gradient(), count: 4)
    pool.withScratch(heads * area) { dBiases in
      dBiases.update(repeating: 0, count: heads * area)
      pool.withScratch(tokens * 3 * columns + 2 * area) { scratch in
        for window in 0..<layout.windowCount {
          differentiate(
            window, dy + window * tokens * columns, to: dx.pointer + window * tokens * 3 * columns,
            dBiases, rounded: scratch, scratch: scratch + tokens * 3 * columns, &sums)
        }
      }
      addBiases(dBiases)
    }
    for (quantizer, sum) in zip([query, key, value, probability], sums) {
      if let quantizer { tape.add(sum, to: quantizer) }
    }
    x.add(gradient: dx)
  }

  private func differentiate(
    _ window: Int, _ dy: UnsafePointer<Float>, to dx: UnsafeMutablePointer<Float>,
    _ dBiases: UnsafeMutablePointer<Float>, rounded: UnsafeMutablePointer<Float>,
    scratch: UnsafeMutablePointer<Float>, _ sums: inout [ck_bound_gradient]
  ) {
    let (roundedProbabilities, dScores) = (scratch, scratch + area)
    round(window, to: rounded)
    for head in 0..<heads {
      let scores = probabilities.pointer + (window * heads + head) * area
      var factors = scores
      if let probability {
        probability.apply(
          scores, rows: tokens, columns: tokens, to: roundedProbabilities)
        factors = roundedProbabilities
      }
      let dOut = SinglePrecisionOperand(dy + head * width, stride: columns)
      let target = dx + head * width
      multiplySinglePrecision(
        rows: tokens, columns: width, inner: tokens,
        SinglePrecisionOperand(factors, stride: tokens, isTransposed: true), dOut,
        to: target + 2 * columns, stride: 3 * columns)
      multiplySinglePrecision(
        rows: tokens, columns: tokens, inner: width, dOut,
        part(2, head, of: rounded, isTransposed: true), to: dScores, stride: tokens)
      probability?.differentiate(
        scores, rows: tokens, columns: tokens, dScores, &sums[3])
      ck_softmax_gradient(
        scores, dScores, tokens, tokens, table.needsGradient ? dBiases + head * area : nil)
      let d = SinglePrecisionOperand(dScores, stride: tokens)
      multiplySinglePrecision(
        rows: tokens, columns: width, inner: tokens, d, part(1, head, of: rounded), to: target,
        stride: 3 * columns)
      multiplySinglePrecision(
        rows: tokens, columns: width, inner: tokens,
        SinglePrecisionOperand(dScores, stride: tokens, isTransposed: true),
        part(0, head, of: rounded), to: target + columns, stride: 3 * columns)
    }
    straightThrough(window, dx, &sums)
  }

  /// Turns gradients of the rounded queries, keys and values into those of the unrounded ones.
  private func straightThrough(
    _ window: Int, _ dx: UnsafeMutablePointer<Float>, _ sums: inout [ck_bound_gradient]
  ) {
    let source = x.values + window * tokens * 3 * columns
    straightThrough(source, query, factor: scale, dx, &sums[0])
    straightThrough(source + columns, key, factor: 1, dx + columns, &sums[1])
    straightThrough(source + 2 * columns, value, factor: 1, dx + 2 * columns, &sums[2])
  }

  private func straightThrough(
    _ source: UnsafePointer<Float>, _ quantizer: SiteQuantizer?, factor: Float,
    _ dx: UnsafeMutablePointer<Float>, _ sum: inout ck_bound_gradient
  ) {
    if let quantizer {
      return quantizer.differentiate(
        source, factor: factor, rows: tokens, columns: columns, stride: 3 * columns, dx, &sum)
    }
    guard factor != 1 else { return }
    for token in 0..<tokens {
      let g = dx + token * 3 * columns
      for column in 0..<columns { g[column] *= factor }
    }
  }

  private func addBiases(_ dBiases: UnsafePointer<Float>) {
    guard table.needsGradient else { return }
    let target = table.gradientToAddTo(tape.pool).pointer
    layout.positions.withUnsafeBufferPointer { positions in
      for head in 0..<heads {
        for index in 0..<area {
          target[Int(positions[index]) * heads + head] += dBiases[head * area + index]
        }
      }
    }
  }
}
