import CKernels
import LinearAlgebra

/// The parameters of an attention within windows.
struct WindowAttentionSetting {
  let layout: WindowLayout
  let heads: Int
  let sites: AttentionSites?
}

extension Tape {
  /// Computes `softmax(q kᵀ / √channels + bias + mask) v` in every window and head, with q
  /// (scaled), k, v and the result of the softmax rounded by the quantizers of their sites.
  ///
  /// - Parameters:
  ///   - queries: those of every window, `[windows · queries, …]`, of which the first columns count.
  ///   - keys: keys and values in the last columns, `[windows · keys, …]`; may be the same variable.
  ///   - table: the bias of every relative position, `[positions, heads]`.
  ///   - columns: those of the queries.
  /// - Returns: `[windows · queries, columns]`, which `backward` does not read.
  ///
  /// The probabilities are kept for `backward`; quantized values are computed again there.
  func windowAttention(
    _ queries: Variable, keys: Variable, table: Variable, columns: Int,
    _ setting: WindowAttentionSetting
  ) -> Variable {
    let attention = WindowAttentionPass(
      queries, keys: keys, table: table, columns: columns, setting, self)
    let y = result(
      rows: queries.rows, columns: columns,
      needsGradient: queries.needsGradient || keys.needsGradient || table.needsGradient
        || attention.isLearning)
    attention.run(to: y.values)
    record(y) { attention.differentiate($0.pointer) }
    return y
  }

  /// The same of queries, keys and values side by side, `[windows · tokens, 3 · columns]`.
  func windowAttention(
    _ x: Variable, table: Variable, _ setting: WindowAttentionSetting
  ) -> Variable {
    windowAttention(x, keys: x, table: table, columns: x.columns / 3, setting)
  }
}

private final class WindowAttentionPass {
  /// Queries, keys or values: some columns of a variable.
  private struct Part {
    let variable: Variable
    /// The first column.
    let first: Int
    /// Rows in a window.
    let tokens: Int
    /// Where a window's rounded rows begin, in rows of the variable's length.
    let base: Int
    let factor: Float
    let quantizer: SiteQuantizer?

    var stride: Int { variable.columns }
  }

  let isLearning: Bool
  private let columns: Int
  private let parts: [Part]
  private let table: Variable
  private let layout: WindowLayout
  private let tape: Tape
  private let heads: Int
  private let queries: Int
  private let keys: Int
  private let width: Int
  private let probability: SiteQuantizer?
  /// `[windows, heads, queries, keys]`.
  private var probabilities: BufferPool.Buffer

  init(
    _ queries: Variable, keys: Variable, table: Variable, columns: Int,
    _ setting: WindowAttentionSetting, _ tape: Tape
  ) {
    (self.table, self.tape, self.columns) = (table, tape, columns)
    (layout, heads) = (setting.layout, setting.heads)
    (self.queries, self.keys) = (layout.tokenCount, layout.keyCount)
    width = columns / heads
    precondition(columns == width * heads)
    precondition(queries.rows == layout.windowCount * layout.tokenCount)
    precondition(keys.rows == layout.windowCount * layout.keyCount)
    precondition(table.columns == heads && table.rows == layout.positionCount)
    let quantizers =
      setting.sites.map { [$0.query, $0.key, $0.value].map(tape.quantizer) } ?? [nil, nil, nil]
    let base = queries === keys ? 0 : layout.tokenCount * queries.columns
    parts = [
      Part(
        variable: queries, first: 0, tokens: layout.tokenCount, base: 0,
        factor: 1 / Float(width).squareRoot(), quantizer: quantizers[0]),
      Part(
        variable: keys, first: keys.columns - 2 * columns, tokens: layout.keyCount, base: base,
        factor: 1, quantizer: quantizers[1]),
      Part(
        variable: keys, first: keys.columns - columns, tokens: layout.keyCount, base: base,
        factor: 1, quantizer: quantizers[2]),
    ]
    probability = setting.sites.flatMap { tape.quantizer(at: $0.probabilities) }
    isLearning = (quantizers + [probability]).contains { tape.isLearning($0) }
    probabilities = tape.pool.take(
      layout.windowCount * heads * layout.tokenCount * layout.keyCount)
  }

  private var area: Int { queries * keys }
  /// Floats for the rounded rows of a window.
  private var roundedCount: Int { parts[2].base + keys * parts[2].stride }

  // MARK: Forward

  func run(to y: UnsafeMutablePointer<Float>) {
    let pool = tape.pool
    pool.withScratch(heads * area) { biases in
      spreadBiases(to: biases)
      pool.withScratch(roundedCount) { rounded in
        pool.withScratch(area) { roundedProbabilities in
          for window in 0..<layout.windowCount {
            round(window, to: rounded)
            for head in 0..<heads {
              let scores = probabilities.pointer + (window * heads + head) * area
              score(window, head, rounded, bias: biases + head * area, to: scores)
              var factors = scores
              if let probability {
                probability.apply(
                  scores, rows: queries, columns: keys, to: roundedProbabilities)
                factors = roundedProbabilities
              }
              multiplySinglePrecision(
                rows: queries, columns: width, inner: keys,
                SinglePrecisionOperand(factors, stride: keys),
                part(2, head, of: rounded), to: y + window * queries * columns + head * width,
                stride: columns)
            }
          }
        }
      }
    }
  }

  /// Writes the bias of every query and key, `[heads, queries, keys]`.
  private func spreadBiases(to biases: UnsafeMutablePointer<Float>) {
    layout.positions.withUnsafeBufferPointer { positions in
      for head in 0..<heads {
        let target = biases + head * area
        for index in 0..<area { target[index] = table.values[Int(positions[index]) * heads + head] }
      }
    }
  }

  /// Writes the queries, keys and values of a window as they are multiplied, each where its variable
  /// has it.
  private func round(_ window: Int, to rounded: UnsafeMutablePointer<Float>) {
    for part in parts {
      let source = part.variable.values + window * part.tokens * part.stride + part.first
      let target = rounded + part.base + part.first
      if let quantizer = part.quantizer {
        quantizer.apply(
          source, factor: part.factor, rows: part.tokens, columns: columns, stride: part.stride,
          to: target)
        continue
      }
      for token in 0..<part.tokens {
        let (from, to) = (source + token * part.stride, target + token * part.stride)
        for column in 0..<columns { to[column] = from[column] * part.factor }
      }
    }
  }

  /// Returns the queries (0), keys (1) or values (2) of a head.
  private func part(
    _ index: Int, _ head: Int, of rounded: UnsafePointer<Float>, isTransposed: Bool = false
  ) -> SinglePrecisionOperand {
    let part = parts[index]
    return SinglePrecisionOperand(
      rounded + part.base + part.first + head * width, stride: part.stride,
      isTransposed: isTransposed)
  }

  private func score(
    _ window: Int, _ head: Int, _ rounded: UnsafePointer<Float>, bias: UnsafePointer<Float>,
    to scores: UnsafeMutablePointer<Float>
  ) {
    multiplySinglePrecision(
      rows: queries, columns: keys, inner: width, part(0, head, of: rounded),
      part(1, head, of: rounded, isTransposed: true), to: scores, stride: keys)
    layout.masks.withUnsafeBufferPointer { masks in
      let mask = layout.maskKinds[window].flatMap { kind in
        masks.baseAddress.map { $0 + kind * area }
      }
      ck_biased_softmax(scores, bias, mask, queries, keys)
    }
  }

  // MARK: Backward

  /// Adds to the gradients of the tokens, the table and the bounds.
  func differentiate(_ dy: UnsafePointer<Float>) {
    let pool = tape.pool
    let (first, last) = (parts[0].variable, parts[2].variable)
    let dQueries = pool.take(first.count)
    let dKeys = first === last ? dQueries : pool.take(last.count)
    var sums = [ck_bound_gradient](repeating: ck_bound_gradient(), count: 4)
    pool.withScratch(heads * area) { dBiases in
      dBiases.update(repeating: 0, count: heads * area)
      pool.withScratch(roundedCount + 2 * area) { scratch in
        for window in 0..<layout.windowCount {
          let targets = zip(parts, [dQueries, dKeys, dKeys]).map { part, gradient in
            gradient.pointer + window * part.tokens * part.stride + part.first
          }
          differentiate(
            window, dy + window * queries * columns, to: targets, dBiases, rounded: scratch,
            scratch: scratch + roundedCount, &sums)
        }
      }
      addBiases(dBiases)
    }
    for (quantizer, sum) in zip(parts.map(\.quantizer) + [probability], sums) {
      if let quantizer { tape.add(sum, to: quantizer) }
    }
    first.add(gradient: dQueries)
    if dKeys !== dQueries { last.add(gradient: dKeys) }
  }

  /// - Parameter targets: where the gradients of the window's queries, keys and values belong.
  private func differentiate(
    _ window: Int, _ dy: UnsafePointer<Float>, to targets: [UnsafeMutablePointer<Float>],
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
          scores, rows: queries, columns: keys, to: roundedProbabilities)
        factors = roundedProbabilities
      }
      let dOut = SinglePrecisionOperand(dy + head * width, stride: columns)
      multiplySinglePrecision(
        rows: keys, columns: width, inner: queries,
        SinglePrecisionOperand(factors, stride: keys, isTransposed: true), dOut,
        to: targets[2] + head * width, stride: parts[2].stride)
      multiplySinglePrecision(
        rows: queries, columns: keys, inner: width, dOut,
        part(2, head, of: rounded, isTransposed: true), to: dScores, stride: keys)
      probability?.differentiate(
        scores, rows: queries, columns: keys, dScores, &sums[3])
      ck_softmax_gradient(
        scores, dScores, queries, keys, table.needsGradient ? dBiases + head * area : nil)
      multiplySinglePrecision(
        rows: queries, columns: width, inner: keys, SinglePrecisionOperand(dScores, stride: keys),
        part(1, head, of: rounded), to: targets[0] + head * width, stride: parts[0].stride)
      multiplySinglePrecision(
        rows: keys, columns: width, inner: queries,
        SinglePrecisionOperand(dScores, stride: keys, isTransposed: true),
        part(0, head, of: rounded), to: targets[1] + head * width, stride: parts[1].stride)
    }
    for index in parts.indices {
      straightThrough(window, parts[index], targets[index], &sums[index])
    }
  }

  /// Turns gradients of rounded queries, keys or values into those of the unrounded ones.
  private func straightThrough(
    _ window: Int, _ part: Part, _ gradient: UnsafeMutablePointer<Float>,
    _ sum: inout ck_bound_gradient
  ) {
    if let quantizer = part.quantizer {
      return quantizer.differentiate(
        part.variable.values + window * part.tokens * part.stride + part.first,
        factor: part.factor, rows: part.tokens, columns: columns, stride: part.stride, gradient,
        &sum)
    }
    guard part.factor != 1 else { return }
    for token in 0..<part.tokens {
      let g = gradient + token * part.stride
      for column in 0..<columns { g[column] *= part.factor }
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
