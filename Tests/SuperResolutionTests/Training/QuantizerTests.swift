import CKernels
import Formats
import TestSupport
import Testing

@testable import SuperResolution

@Suite struct QuantizerTests {
  private static let reference = ParameterReference(index: 0, offset: 0, count: 1)

  private func quantizer(
    _ lower: Float, _ upper: Float, levels: Float, _ scaling: ActivationScaling = .tensor
  ) -> SiteQuantizer {
    SiteQuantizer(
      lower: lower, upper: upper, levels: levels, scaling: scaling,
      lowerReference: Self.reference, upperReference: Self.reference)
  }

  private func values(_ count: Int) -> [Float] {
    var generator = SplitMix(seed: 3)
    return (0..<count).map { _ in Float.random(in: -2...2, using: &generator) }
      + [-1, 1, 0, -0.5, 0.5, .infinity, -.infinity, 1e30]
  }

  @Test(arguments: [1, 3, 15, 255] as [Float])
  func roundingMatchesDocumentedFormula(levels: Float) {
    for (lower, upper) in [(-1, 1), (-0.3, 1.7), (0, 0.01), (1, 1), (2, 1)] as [(Float, Float)] {
      let x = values(202)
      var found = x
      let columns = x.count / 3
      // The rows have all but one column, whose elements stay.
      quantizer(lower, upper, levels: levels).apply(
        x, factor: 0.5, rows: 3, columns: columns - 1, stride: columns, to: &found)
      let expected = x.enumerated().map { index, value in
        if index % columns == columns - 1 { return value }
        guard upper > lower else { return lower }
        let scale = (upper - lower) / levels
        let clipped = max(lower, min(upper, 0.5 * value))
        return ((clipped - lower) / scale).rounded(.toNearestOrEven) * scale + lower
      }
      #expect(found == expected, "\(lower)…\(upper)")
    }
  }

  @Test(arguments: VectorLevels.available)
  func gradientsMatchDocumentedFormula(level: UInt32) {
    let (lower, upper, levels) = (Float(-0.75), Float(1.25), Float(3))
    let x = values(2100).filter(\.isFinite)
    var g = x.map { 0.5 - $0 * 0.25 }
    let given = g
    var sum = ck_bound_gradient()
    let factor: Float = 0.5
    VectorLevels.at(level) {
      quantizer(lower, upper, levels: levels).differentiate(
        x, factor: factor, columns: x.count, &g, &sum)
    }
    var (low, high, inner) = (0.0, 0.0, 0.0)
    let scale = (upper - lower) / levels
    for index in x.indices {
      let value = x[index] * factor
      let isInside = value >= lower && value <= upper
      #expect(g[index] == (isInside ? given[index] * factor : 0))
      if value <= lower {
        low += Double(given[index])
      } else if value >= upper {
        high += Double(given[index])
      } else {
        let t = (value - lower) / scale
        inner += Double(given[index] * (t.rounded(.toNearestOrEven) - t))
      }
    }
    #expect(abs(low) > 10 && abs(high) > 10 && abs(inner) > 1)
    #expect(abs(sum.lower - (low - inner / Double(levels))) < 1e-2)
    #expect(abs(sum.upper - (high + inner / Double(levels))) < 1e-3 * abs(high))
  }

  /// All values of a row may have the lowest code: its sum says nothing then, and must not divide.
  @Test(arguments: [0, 1e-27, 1e-6] as [Float])
  func gradientsOfRowsWithoutCodesStayBounded(lower: Float) {
    var probabilities = quantizer(lower, 0.06, levels: 3)
    probabilities.isNormalized = true
    let x = (0..<40).map { Float($0) * 1e-4 }
    var g = (0..<40).map { Float($0) / 40 - 0.5 }
    let given = g
    var sum = ck_bound_gradient()
    probabilities.differentiate(x, columns: 40, &g, &sum)
    for (own, before) in zip(g, given) { #expect(abs(own) <= abs(before)) }
    #expect(sum.lower.isFinite && sum.upper.isFinite)
  }

  /// With steps that are much shorter than the differences, rounding has the slope that gradients assume.
  @Test(arguments: [ActivationScaling.tensor, .row], [1, 5, 300])
  func gradientsOfNormalizedRowsMatchDifferenceQuotients(
    scaling: ActivationScaling, columns: Int
  ) {
    var random = SplitMix(seed: UInt64(columns))
    let x = (0..<2 * columns).map { _ in Float.random(in: 0.05...1, using: &random) }
    let given = random.normals(2 * columns)
    func normalizing(_ lower: Float, _ upper: Float) -> SiteQuantizer {
      var result = quantizer(lower, upper, levels: 2_097_152, scaling)
      result.isNormalized = true
      return result
    }
    func loss(_ x: [Float], _ lower: Float, _ upper: Float) -> Double {
      var y = x
      normalizing(lower, upper).apply(x, rows: 2, columns: columns, to: &y)
      return zip(y, given).reduce(0) { $0 + Double($1.0) * Double($1.1) }
    }
    var g = given
    var sum = ck_bound_gradient()
    normalizing(0.1, 0.8).differentiate(x, rows: 2, columns: columns, &g, &sum)
    let step: Float = 1.0 / 512
    func slope(_ change: (Float) -> Double) -> Double {
      (change(step) - change(-step)) / Double(2 * step)
    }
    for index in stride(from: 0, to: x.count, by: max(1, x.count / 40)) {
      // Not where a bound is between the two values, nor at the largest element, which moves the bounds.
      let bounds = scaling == .row ? [Float]() : [0.1, 0.8]
      let row = x[index / columns * columns..<(index / columns + 1) * columns]
      guard !bounds.contains(where: { abs($0 - x[index]) < 2 * step }),
        scaling == .tensor || x[index] < 0.75 * (row.max() ?? 0) && x[index] > 0.15
      else { continue }
      let expected = slope { change in
        var moved = x
        moved[index] += change
        return loss(moved, 0.1, 0.8)
      }
      #expect(abs(Double(g[index]) - expected) < 2e-2 * max(1, abs(expected)), "\(index)")
    }
    let byLower = slope { loss(x, 0.1 + $0, 0.8) }
    let byUpper = slope { loss(x, 0.1, 0.8 + $0) }
    #expect(abs(sum.lower - byLower) < 5e-2 * max(1, abs(byLower)))
    #expect(abs(sum.upper - byUpper) < 5e-2 * max(1, abs(byUpper)))
  }

  @Test(arguments: VectorLevels.available, [1, 3, 16, 37])
  func stridedRowsLearnLikeSeparateRows(level: UInt32, columns: Int) {
    let (rows, stride) = (5, columns + 2)
    var random = SplitMix(seed: UInt64(columns))
    let (x, given) = (random.normals(rows * stride), random.normals(rows * stride))
    for scaling in [.tensor, .row, .group(5), .group(16)] as [ActivationScaling] {
      let quantizer = quantizer(-0.8, 0.9, levels: 7, scaling)
      var (g, expected) = (given, given)
      var (sum, expectedSum) = (ck_bound_gradient(), ck_bound_gradient())
      VectorLevels.at(level) {
        quantizer.differentiate(
          x, factor: 0.7, rows: rows, columns: columns, stride: stride, &g, &sum)
      }
      VectorLevels.at(0) {
        for row in 0..<rows {
          expected.withUnsafeMutableBufferPointer { expected in
            x.withUnsafeBufferPointer { x in
              quantizer.differentiate(
                x.baseAddress! + row * stride, factor: 0.7, columns: columns,
                expected.baseAddress! + row * stride, &expectedSum)
            }
          }
        }
      }
      #expect(zip(g, expected).allSatisfy { abs($0 - $1) < 1e-5 })
      #expect(abs(sum.lower - expectedSum.lower) < 1e-4)
      #expect(abs(sum.upper - expectedSum.upper) < 1e-4)
      for row in 0..<rows {
        #expect(
          g[row * stride + columns..<(row + 1) * stride]
            == given[row * stride + columns..<(row + 1) * stride])
      }
    }
  }

  /// Returns Q(factor · x), weights of a sum of it, and the gradients of that sum.
  private func weightedSum(
    of x: [Float], _ factor: Float, _ quantizer: SiteQuantizer
  ) -> (y: [Float], weights: [Float], g: [Float], sum: ck_bound_gradient) {
    var y = x
    quantizer.apply(x, factor: factor, columns: x.count, to: &y)
    let weights = x.indices.map { 0.3 + 0.1 * Float($0 % 5) }
    var g = weights
    var sum = ck_bound_gradient()
    quantizer.differentiate(x, factor: factor, columns: x.count, &g, &sum)
    return (y, weights, g, sum)
  }

  /// With bounds that are multiples of a row's largest magnitude, Q(c x) = c Q(x): by Euler's theorem
  /// Σ x ∂/∂x of any weighted sum of Q is that sum, whichever element is the largest.
  @Test(
    arguments: [
      (-0.9, 0.8), (-1, 1), (-1, 0.7), (-0.6, 1), (0, 1), (0.1, 0.9), (-1.1, 1.2), (0.4, 0.4),
    ] as [(Float, Float)])
  func gradientsOfRowsAreHomogeneous(_ lower: Float, _ upper: Float) {
    let rows: [[Float]] = [
      values(33).filter { abs($0) < 3 }, [0, 0, 0], [-3, 1, 2], [3, -3, 3], [0.5],
      [1e-31, -2e-31], values(40).filter { abs($0) < 2 }.map { $0 * 1e-12 } + [7e-12],
    ]
    for x in rows {
      for factor in [1, 0.25] as [Float] {
        let (y, weights, g, sum) = weightedSum(
          of: x, factor, quantizer(lower, upper, levels: 7, .row))
        var (expected, found, size) = (0.0, 0.0, 0.0)
        for index in x.indices {
          let term = Double(weights[index]) * Double(y[index])
          expected += term
          size += abs(term)
          found += Double(g[index]) * Double(x[index])
        }
        #expect(abs(found - expected) <= 1e-5 * size, "\(x)")
        // Rows of zeros, and rows that count as such, give nothing.
        let magnitude = x.reduce(0) { max($0, abs($1)) } * factor
        if magnitude < CK_LEAST_ROW_MAGNITUDE {
          #expect(g.allSatisfy { $0 == 0 } && sum.lower == 0)
        }
      }
    }
  }

  /// With bounds within a group's range, Q(c x) = c Q(x) and Q(x + a) = Q(x) + a: for any weighted
  /// sum of Q, Σ x ∂/∂x is that sum and Σ ∂/∂x is the sum of the weights, whichever elements are
  /// the extremes.
  @Test(
    arguments: [(-0.9, 0.8), (-1, 1), (-1, 0.7), (-0.6, 1), (-1.1, 1.2)] as [(Float, Float)],
    [2, 5, 16])
  func groupGradientsFollowRange(_ bounds: (Float, Float), size: Int) {
    let rows: [[Float]] = [
      values(33).filter { abs($0) < 3 }, [0, 0, 0], [-3, 1, 2, 2, -3], [3, -3, 3], [0.5],
      [7, 7 + 1e-6, 7.25, 7.5, 7, 6.75], values(40).filter { abs($0) < 2 }.map { $0 * 1e-12 },
    ]
    for x in rows {
      for factor in [1, 0.25] as [Float] {
        let (y, weights, g, _) = weightedSum(
          of: x, factor, quantizer(bounds.0, bounds.1, levels: 7, .group(size)))
        for first in stride(from: 0, to: x.count, by: size) {
          let group = first..<min(first + size, x.count)
          var (expected, found, size, total) = (0.0, 0.0, 0.0, 0.0)
          for index in group {
            let term = Double(weights[index]) * Double(y[index])
            expected += term
            size += abs(term)
            found += Double(g[index]) * Double(x[index])
            total += Double(g[index]) / Double(factor) - Double(weights[index])
          }
          #expect(abs(found - expected) <= 2e-5 * size, "\(x)")
          #expect(abs(total) <= 1e-5, "\(x)")
        }
      }
    }
  }

  /// A group's bounds have the gradients of the plain quantizer with the same absolute bounds, in
  /// units of half the group's range.
  @Test func groupBoundsAreRelativeToHalfRange() {
    let x: [Float] = [-1, 0.3, 3, 0.9]
    let given: [Float] = [0.2, -0.4, 0.7, 0.5]
    var (grouped, plain) = (given, given)
    var (sum, plainSum) = (ck_bound_gradient(), ck_bound_gradient())
    quantizer(-0.5, 0.75, levels: 3, .group(4)).differentiate(x, columns: 4, &grouped, &sum)
    quantizer(0, 2.5, levels: 3).differentiate(x, columns: 4, &plain, &plainSum)
    #expect(abs(sum.lower - 2 * plainSum.lower) < 1e-6)
    #expect(abs(sum.upper - 2 * plainSum.upper) < 1e-6)
    // (1 − l) / 2 and (1 − u) / 2 of the bounds' gradients go to the smallest value, the rest to
    // the largest.
    #expect(abs(Double(grouped[0]) - (0.75 * plainSum.lower + 0.125 * plainSum.upper)) < 1e-6)
    #expect(abs(Double(grouped[2]) - (0.25 * plainSum.lower + 0.875 * plainSum.upper)) < 1e-6)
    #expect(grouped[1] == plain[1] && grouped[3] == plain[3])
  }

  @Test func uniformGroupsPassGradientsThrough() {
    var g: [Float] = [1, 2, 3]
    var sum = ck_bound_gradient()
    quantizer(-1, 1, levels: 3, .group(3)).differentiate([2, 2, 2], columns: 3, &g, &sum)
    #expect(g == [1, 2, 3])
    #expect(sum.lower == 0 && sum.upper == 0)
  }

  @Test func emptyRangeLearnsOnlyLowerBound() {
    var g: [Float] = [1, 2, 3]
    var sum = ck_bound_gradient()
    quantizer(1, 1, levels: 3).differentiate([0, 1, 2], columns: 3, &g, &sum)
    #expect(g == [0, 0, 0])
    #expect(sum.lower == 6 && sum.upper == 0)
  }

  @Test(arguments: [
    ("tensor", 1), ("tensor", 3), ("channel", 1), ("group:4", 1),
  ])
  func weightRoundingMatchesPackedFiles(_ granularity: String, parts: Int) throws {
    let layout = try AffineLayout(
      rows: 6, columns: 10, granularity: #require(QuantizationGranularity(granularity)),
      parts: parts)
    var generator = SplitMix(seed: 5)
    let weight = (0..<60).map { _ in Float.random(in: -1...1, using: &generator) }
    let lower = (0..<layout.cellCount).map { -0.8 + 0.01 * Float($0) }
    let scale = (0..<layout.cellCount).map { 0.4 + 0.01 * Float($0) }
    var store = ParameterStore()
    store.add("w", weight, group: .others)
    let quantization = WeightQuantization(
      name: "w", layout: layout, bitWidth: 2, lower: lower, scale: scale)
    let parameters = try QuantizationParameters([quantization], [], sites: [], &store)
    let packed = try QuantizedTensor.encode(
      values: weight, spec: AffineSpec(layout: layout, bitWidth: 2, parameterType: .float32),
      lower: lower,
      scale: scale, elementType: .float32, shape: #require(Shape([6, 10])))
    #expect(try Array(parameters.rounded(store.values)[..<60]) == packed.floatValues())

    // The codes that this gives have the same result, whatever the weights are.
    let learned = try #require(parameters.weights(store).first)
    var other = ParameterStore()
    other.add("w", [Float](repeating: 0, count: 60), group: .others)
    let fixed = try QuantizationParameters([learned], [], sites: [], &other)
    #expect(try Array(fixed.rounded(other.values)[..<60]) == packed.floatValues())
  }

  @Test func fixedCodesPassGradientsToBounds() throws {
    let layout = try AffineLayout(rows: 2, columns: 2, granularity: .channel)
    var store = ParameterStore()
    store.add("w", [9, 9, 9, 9], group: .others)
    let parameters = try QuantizationParameters(
      [
        WeightQuantization(
          name: "w", layout: layout, bitWidth: 2, lower: [0, 1], scale: [1, 2],
          rounding: .fixed([3, 0, 1, 2]))
      ], [], sites: [], &store)
    store.gradients = [10, 20, 30, 40, 0, 0, 0, 0]
    parameters.differentiate(&store)
    #expect(store.gradients == [0, 0, 0, 0, 30, 70, 30, 110])
  }
}
