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

  @Test func binsHoldTheirValues() {
    let values = values(4)
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
    let histogram = histogram(values)
    for method in [BoundSearchMethod.minimumMaximum, .dobi, .free] {
      let search = BoundSearch(method: method, bitWidth: bits)
      // A pattern search may end in another minimum but starts from DOBI's result.
      let reference = BoundSearch(
        method: method == .free ? .dobi : method, bitWidth: bits)
      let exact = reference.squaredError(of: values, bounds: reference.bounds(of: values))
      let found = ActivationBounds(method: method, bitWidth: bits)
        .bounds(of: SiteStatistics(histogram: histogram), siteName: "a.input")
      let error = search.squaredError(
        of: values, bounds: .init(lower: found.code.lower, scale: found.code.scale))
      #expect(error <= exact * 1.02, "\(method)")
    }
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
