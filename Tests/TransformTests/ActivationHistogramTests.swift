import Formats
import Foundation
import TestSupport
import Testing

@testable import Transform

@Suite struct ActivationHistogramTests {
  private func histogram(_ values: [Float]) -> ActivationHistogram {
    var histogram = ActivationHistogram()
    values.withUnsafeBufferPointer { histogram.add($0) }
    return histogram
  }

  private func values(_ seed: UInt64, count: Int = 3000) -> [Float] {
    var generator = SplitMix(seed: seed)
    return (0..<count).map { index in
      generator.nextNormal() * (index.isMultiple(of: 100) ? 50 : 1) + 0.25
    }
  }

  @Test(arguments: 0..<6, [1, 2, 7, 300]) func splittingAndMergingGiveSameHistogram(
    _ seed: Int, _ pieces: Int
  ) {
    let values = values(UInt64(seed))
    let whole = histogram(values)
    var merged = ActivationHistogram()
    var grown = ActivationHistogram()
    let length = values.count / pieces
    for piece in 0..<pieces {
      let end = piece == pieces - 1 ? values.count : (piece + 1) * length
      let part = Array(values[piece * length..<end])
      merged.merge(histogram(part))
      part.withUnsafeBufferPointer { grown.add($0) }
    }
    #expect(merged == whole)
    #expect(grown == whole)
    #expect(whole.count == values.count)
    #expect(histogram(values.reversed()) == whole)
  }

  /// Few values and many, near zero and so far from it that bins have large numbers.
  @Test(arguments: [3000, 70_001], [Float(0), 1e7]) func binsHoldTheirValues(
    _ count: Int, _ offset: Float
  ) {
    let values = values(4, count: count).map { $0 + offset }
    let histogram = histogram(values)
    var expected = [Int](repeating: 0, count: ActivationHistogram.binCount)
    for value in values {
      let bin = ((Double(value) - histogram.edges.lowerBound) / histogram.binWidth).rounded(.down)
      expected[Int(bin)] += 1
    }
    #expect(histogram.counts == expected)
    // The bin width is the smallest that suffices: the values span more than half of the bins.
    let span = (histogram.maximum - histogram.minimum) / histogram.binWidth
    #expect(span > Double(ActivationHistogram.binCount / 2 - 2))
  }

  @Test func tinyNegativeValuesLieBelowZero() {
    let histogram = histogram([Float](repeating: -1e-30, count: 20_000) + [1, -1])
    let zero = Int(-histogram.edges.lowerBound / histogram.binWidth)
    #expect(histogram.counts[zero - 1] == 20_000)
  }

  @Test(
    arguments: [ActivationScaling.row, .group(16), .group(7)], [(20, 60), (300, 60), (256, 256)])
  func energiesLieAtPlacesInTheirRows(
    _ scaling: ActivationScaling, _ size: (rows: Int, columns: Int)
  ) {
    var values = values(9, count: size.rows * size.columns)
    // A row of zeros, one that is too small to have places, and one without a range.
    for (row, value) in [(1, 0), (2, 1e-31), (3, 2)] as [(Int, Float)] {
      for column in 0..<size.columns { values[row * size.columns + column] = value }
    }
    var histogram = RowHistogram(scaling)
    values.withUnsafeBufferPointer { histogram.add($0, columns: size.columns) }
    var expected = [Double](repeating: 0, count: RowHistogram.binCount)
    for start in stride(from: 0, to: values.count, by: size.columns) {
      let length = scaling.groupSize ?? size.columns
      for first in stride(from: start, to: start + size.columns, by: length) {
        let run = values[first..<min(first + length, start + size.columns)]
        let (least, greatest) = (run.min() ?? 0, run.max() ?? 0)
        let isGroup = scaling.groupSize != nil
        let center = isGroup ? least / 2 + greatest / 2 : 0
        let magnitude = isGroup ? greatest / 2 - least / 2 : max(-least, greatest)
        guard (isGroup ? greatest - least : magnitude) >= 1e-30 else { continue }
        for value in run {
          let place = Int((value - center) * (1024 / magnitude) + 1024)
          expected[max(0, min(place, 2047))] += Double(magnitude) * Double(magnitude)
        }
      }
    }
    #expect(zip(histogram.energies, expected).allSatisfy { abs($0 - $1) <= 1e-12 * $1 })
  }

  @Test(arguments: [Float(0), 3.5, -1e-30, .greatestFiniteMagnitude, -.leastNonzeroMagnitude])
  func constantsFillOneBin(_ value: Float) {
    let histogram = histogram([value, value, value])
    #expect(histogram.counts.filter { $0 > 0 } == [3])
    #expect(histogram.edges.contains(Double(value)))
    let (values, weights) = histogram.weightedValues()
    #expect(values == [value])
    #expect(weights == [3])
  }

  @Test func extremeValuesFitOneHistogram() {
    let histogram = histogram([-.greatestFiniteMagnitude, 0, 1, .greatestFiniteMagnitude])
    #expect(histogram.count == 4)
    #expect(histogram.binWidth.isFinite)
  }

  /// Bounds from the histogram have hardly more error on the values than bounds from the values.
  @Test(arguments: [2, 3, 4, 6, 8]) func boundsFromBinsAreNearlyAsGoodAsFromValues(_ bits: Int) {
    let values = values(8, count: 20_000)
    for method in [BoundSearchMethod.minimumMaximum, .dobi] {
      let search = BoundSearch(method: method, bitWidth: bits)
      let exact = search.squaredError(of: values, bounds: search.bounds(of: values))
      let found = bounds(method, bits, of: values).code
      let error = search.squaredError(
        of: values, bounds: .init(lower: found.lower, scale: found.scale))
      #expect(error <= exact * 1.02, "\(method)")
    }
  }

  /// A free search of static bounds compares higher powers of errors.
  @Test(arguments: [2, 3, 4, 6, 8], [false, true]) func freeBoundsMinimizeHigherPowers(
    _ bits: Int, _ isAfterNormalization: Bool
  ) {
    let values = values(8, count: 20_000)
    let exponent: Float = isAfterNormalization ? 4 : 2.5
    func error(_ quantizer: ActivationQuantizer) -> Float {
      let code = quantizer.code
      return values.reduce(0) { $0 + pow(abs($1 - code.decode(code.encode($1))), exponent) }
    }
    let dobi = bounds(.dobi, bits, of: values)
    let free = bounds(.free, bits, of: values, isAfterNormalization: isAfterNormalization)
    #expect(error(free) <= error(dobi) * 1.001)
    if bits < 6 { #expect(error(free) < error(dobi) * 0.95) }
  }

  private func bounds(
    _ method: BoundSearchMethod, _ bits: Int, of values: [Float], isAfterNormalization: Bool = false
  ) -> ActivationQuantizer {
    ActivationBounds(method: method, bitWidth: bits).bounds(
      of: SiteStatistics(
        histogram: histogram(values), isAfterNormalization: isAfterNormalization),
      siteName: "a.input")
  }

  @Test func probabilitiesKeepTheirLowerBound() {
    var generator = SplitMix(seed: 6)
    let values = (0..<5000).map { _ in exp(3 * generator.nextNormal() - 8) }
    let histogram = histogram(values)
    let search = ActivationBounds(method: .dobi, bitWidth: 3)
    let found = search.bounds(
      of: SiteStatistics(histogram: histogram), siteName: "attn.probabilities")
    #expect(found.lower == values.min())
    #expect(found.upper < values.max() ?? 0)
    #expect(!found.isNormalized)
  }

  @Test func freeSearchNormalizesProbabilities() {
    var generator = SplitMix(seed: 6)
    let values = (0..<5000).map { _ in exp(3 * generator.nextNormal() - 8) }
    func bounds(_ values: [Float], of name: String) -> ActivationQuantizer {
      ActivationBounds(method: .free, bitWidth: 3)
        .bounds(of: SiteStatistics(histogram: histogram(values)), siteName: name)
    }
    let found = bounds(values, of: "attn.probabilities")
    #expect(found.isNormalized)
    #expect(found.lower == values.min())
    #expect(!bounds(values, of: "attn.input").isNormalized)
    // Products that mix values without a softmax.
    #expect(!bounds(values + [-0.1], of: "attn.probabilities").isNormalized)
  }
}
