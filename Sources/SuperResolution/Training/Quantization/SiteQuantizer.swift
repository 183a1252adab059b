import CKernels

/// The uniform quantizer of an activation site whose bounds are learned (2DQuant, equation 2):
///
///     Q(x) = s · round((clip(x, l, u) − l) / s) + l,   s = (u − l) / levels
///
/// with ties to even, and the same bits as the engine's. Rounding counts as the identity in
/// derivatives (the straight-through estimator), which gives, with t = (x − l) / s,
///
///     ∂Q/∂x = 1 for l ≤ x ≤ u, else 0
///     ∂Q/∂u = (round(t) − t) / levels for l < x < u, 1 for x ≥ u, else 0
///     ∂Q/∂l = (t − round(t)) / levels for l < x < u, 1 for x ≤ l, else 0
///
/// Where s is not above zero, every value becomes l and only ∂Q/∂l is not zero.
///
/// With bounds that are multiples of a row's largest magnitude m = |xₖ|, this is the row's quantizer
/// with the bounds m l and m u. Derivatives by l and u are m times those by its bounds, and m itself has
/// the derivative l ∂Q/∂(m l) + u ∂Q/∂(m u), which goes to xₖ, the first of equals, with its sign. Rows
/// of zeros stay zeros.
struct SiteQuantizer: Sendable {
  let lower: Float
  let upper: Float
  /// 2^bits − 1.
  let levels: Float
  /// Whether bounds are multiples of each row's largest magnitude.
  var isRowScaled = false
  let lowerReference: ParameterReference
  let upperReference: ParameterReference

  private var scale: Float { (upper - lower) / levels }

  /// Writes Q(factor · x), in rows that lie `stride` elements apart in both; `y` may be `x`.
  ///
  /// - Parameter stride: `columns` if left out.
  func apply(
    _ x: UnsafePointer<Float>, factor: Float = 1, rows: Int = 1, columns: Int,
    stride: Int? = nil, to y: UnsafeMutablePointer<Float>
  ) {
    let stride = stride ?? columns
    for row in 0..<rows {
      let (from, to) = (x + row * stride, y + row * stride)
      if factor == 1 {
        if from != UnsafePointer(to) { to.update(from: from, count: columns) }
      } else {
        for column in 0..<columns { to[column] = from[column] * factor }
      }
    }
    var kernel = ck_quantizer(
      lower: lower, upper: upper, levels: levels, is_row_scaled: isRowScaled)
    ck_quantize(&kernel, y, rows, columns, stride)
  }

  /// Turns the gradient by Q(factor · x) to that by x, in place, and adds those by the bounds.
  ///
  /// - Parameter factor: positive.
  func differentiate(
    _ x: UnsafePointer<Float>, factor: Float = 1, rows: Int = 1, columns: Int,
    _ g: UnsafeMutablePointer<Float>, _ sums: inout BoundGradient
  ) {
    guard isRowScaled else {
      return differentiate(x, factor: factor, count: rows * columns, g, &sums)
    }
    for row in 0..<rows {
      differentiateRow(x + row * columns, factor: factor, count: columns, g + row * columns, &sums)
    }
  }

  private func differentiateRow(
    _ x: UnsafePointer<Float>, factor: Float, count: Int, _ g: UnsafeMutablePointer<Float>,
    _ sums: inout BoundGradient
  ) {
    let largest = ck_row_magnitude(x, count)
    let magnitude = largest * factor
    guard magnitude >= CK_LEAST_ROW_MAGNITUDE else { return g.update(repeating: 0, count: count) }
    let quantizer = SiteQuantizer(
      lower: lower * magnitude, upper: upper * magnitude, levels: levels,
      lowerReference: lowerReference, upperReference: upperReference)
    var row = BoundGradient()
    quantizer.differentiate(x, factor: factor, count: count, g, &row)
    sums.low += Double(magnitude) * row.low
    sums.high += Double(magnitude) * row.high
    sums.inner += Double(magnitude) * row.inner
    let (byLower, byUpper) = row.byBounds(levels: levels)
    let byMagnitude = Float(Double(lower) * byLower + Double(upper) * byUpper) * factor
    // A lane after the other is passed over, then the element is found.
    var place = 0
    while place + Lanes.scalarCount <= count {
      let values = loadLanes(x + place)
      if any((values .== largest) .| (values .== -largest)) { break }
      place += Lanes.scalarCount
    }
    while place < count, abs(x[place]) != largest { place += 1 }
    guard place < count else { return }
    // Where the largest are a bound themselves, their derivatives are all in that of the bound.
    for bound in [quantizer.lower, quantizer.upper] where abs(bound) == magnitude {
      for index in 0..<count where x[index] * factor == bound { g[index] = 0 }
    }
    g[place] += x[place] < 0 ? -byMagnitude : byMagnitude
  }

  private func differentiate(
    _ x: UnsafePointer<Float>, factor: Float, count: Int, _ g: UnsafeMutablePointer<Float>,
    _ sums: inout BoundGradient
  ) {
    guard scale > 0 else {
      for index in 0..<count {
        sums.low += Double(g[index])
        g[index] = 0
      }
      return
    }
    let inverseScale = 1 / scale
    // Float32 sums of some hundred products, then Float64.
    for first in stride(from: 0, to: count, by: 2048) {
      let end = min(count, first + 2048)
      var (low, high, inner) = (Lanes(), Lanes(), Lanes())
      var index = first
      while index + Lanes.scalarCount <= end {
        let values = loadLanes(x + index) * factor
        let gradient = loadLanes(g + index)
        let t = (values - lower) * inverseScale
        let rounded = (t + 12_582_912) - 12_582_912
        let (isLow, isHigh) = (values .<= lower, values .>= upper)
        let isBound = isLow .| isHigh
        low.replace(with: low + gradient, where: isLow)
        high.replace(with: high + gradient, where: isHigh)
        inner.replace(with: inner + gradient * (rounded - t), where: .!isBound)
        let isClipped = (values .< lower) .| (values .> upper)
        storeLanes((gradient * factor).replacing(with: 0, where: isClipped), g + index)
        index += Lanes.scalarCount
      }
      sums.low += Double(low.sum())
      sums.high += Double(high.sum())
      sums.inner += Double(inner.sum())
      while index < end {
        differentiate(x[index] * factor, inverseScale, factor: factor, &g[index], &sums)
        index += 1
      }
    }
  }

  @inline(__always)
  private func differentiate(
    _ value: Float, _ inverseScale: Float, factor: Float, _ g: inout Float,
    _ sums: inout BoundGradient
  ) {
    let t = (value - lower) * inverseScale
    if value <= lower {
      sums.low += Double(g)
    } else if value >= upper {
      sums.high += Double(g)
    } else {
      sums.inner += Double(g * (((t + 12_582_912) - 12_582_912) - t))
    }
    g = value < lower || value > upper ? 0 : g * factor
  }
}

/// What a quantizer's gradient by its bounds is made of.
struct BoundGradient {
  /// Σ g over values at the lower bound or below it.
  var low = 0.0
  /// Σ g over values at the upper bound or above it.
  var high = 0.0
  /// Σ g · (round(t) − t) over the others.
  var inner = 0.0

  /// The gradients by the lower and the upper bound.
  func byBounds(levels: Float) -> (lower: Double, upper: Double) {
    let inner = inner / Double(levels)
    return (low - inner, high + inner)
  }
}

extension Tape {
  /// The values as the quantizer of a site rounds them; `x` itself where the site has none.
  func quantize(_ x: Variable, at site: Int) -> Variable {
    guard let quantizer = quantizer(at: site) else { return x }
    let y = result(
      rows: x.rows, columns: x.columns, needsGradient: x.needsGradient || isLearning(quantizer))
    quantizer.apply(x.values, rows: x.rows, columns: x.columns, to: y.values)
    record(y) { [self] gradient in
      var sums = BoundGradient()
      quantizer.differentiate(
        x.values, rows: x.rows, columns: x.columns, gradient.pointer, &sums)
      add(sums, to: quantizer)
      x.add(gradient: gradient)
    }
    return y
  }

  func quantizer(at site: Int) -> SiteQuantizer? {
    quantizers.isEmpty ? nil : quantizers[site]
  }

  /// Whether the bounds' gradients are wanted.
  func isLearning(_ quantizer: SiteQuantizer?) -> Bool {
    guard let quantizer else { return false }
    return gradient(quantizer.lowerReference) != nil || gradient(quantizer.upperReference) != nil
  }

  func add(_ sums: BoundGradient, to quantizer: SiteQuantizer) {
    let (lower, upper) = sums.byBounds(levels: quantizer.levels)
    gradient(quantizer.lowerReference)?.pointee += Float(lower)
    gradient(quantizer.upperReference)?.pointee += Float(upper)
  }
}
