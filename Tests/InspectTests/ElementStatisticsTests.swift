import Foundation
import Inspect
import Testing

@Suite struct ElementStatisticsTests {
  /// Goldens: NumPy's `std`, `mean`, `linalg.norm`, and the fourth moment over the squared variance.
  @Test func statisticsMatchNumPy() throws {
    let values = (0..<15).map { index in
      let (i, j) = (index / 5, index % 5)
      return Double((i * 37 + j * 101 + i * j * 13) % 97) / 97 - 0.5
    }
    let statistics = ElementStatistics(of: values, rows: 3)
    #expect(statistics.minimum == -0.5)
    #expect(statistics.maximum == 0.4072164948453608)
    #expect(abs(try #require(statistics.mean) + 0.16804123711340205) < 1e-15)
    #expect(abs(try #require(statistics.standardDeviation) - 0.3086408090996679) < 1e-15)
    #expect(abs(try #require(statistics.kurtosis) - 1.727331346692028) < 1e-13)
    #expect(abs(try #require(statistics.channelNormSpread) - 1.4700164979455455) < 1e-14)
    #expect(statistics.zeroShare == 0)
  }

  @Test func nonFiniteElementsAreCountedAndLeftOut() {
    let statistics = ElementStatistics(
      of: [.nan, 1, -.infinity, 3, .infinity, .nan, .nan, 0], rows: 2)
    #expect(statistics.nanCount == 3)
    #expect(statistics.infinityCount == 2)
    #expect(statistics.zeroShare == 0.125)
    #expect(statistics.minimum == 0)
    #expect(statistics.maximum == 3)
    #expect(statistics.mean == 4.0 / 3)
    #expect(statistics.channelNormSpread == nil)
    #expect(statistics.quantization == nil)
    let nothing = ElementStatistics(of: [.nan, .nan], rows: 1)
    #expect(nothing.minimum == nil && nothing.mean == nil && nothing.nanCount == 2)
  }

  @Test func constantAndZeroTensorsHaveDefinedStatistics() {
    let constant = ElementStatistics(of: [2, 2, 2, 2], rows: 2)
    #expect(constant.kurtosis == nil)
    #expect(constant.standardDeviation == 0)
    #expect(constant.channelNormSpread == 1)
    #expect(constant.quantization?.bits2 == .infinity)
    let zero = ElementStatistics(of: [0, 0], rows: 1)
    #expect(zero.zeroShare == 1)
    #expect(zero.quantization == nil)
    #expect(zero.channelNormSpread == nil)
    #expect(ElementStatistics(of: [0, 0, 3, 4], rows: 2).channelNormSpread == .infinity)
    #expect(ElementStatistics(of: [1, 2], rows: 0).channelNormSpread == nil)
  }

  /// Compares with plain rounding to the nearest of evenly spaced levels, over more than one chunk.
  @Test func quantizationOutlookMatchesPlainRounding() throws {
    let values = (0..<5000).map { Double(Float(sin(Double($0 * $0 % 911)))) }
    let outlook = try #require(ElementStatistics(of: values, rows: 1).quantization)
    let lower = try #require(values.min())
    let upper = try #require(values.max())
    for (bits, found) in [(2, outlook.bits2), (3, outlook.bits3), (4, outlook.bits4)] {
      let levels = Double((1 << bits) - 1)
      var signal = 0.0
      var noise = 0.0
      for value in values {
        let code = ((value - lower) / (upper - lower) * levels).rounded()
        let error = value - (lower + (upper - lower) * code / levels)
        signal += value * value
        noise += error * error
      }
      #expect(abs(found - 10 * log10(signal / noise)) < 1e-3)
    }
  }

  @Test func hugeElementsDoNotOverflow() throws {
    let statistics = ElementStatistics(of: [1e300, -1e300, 5e299, 0], rows: 2)
    #expect(try #require(statistics.kurtosis) > 1)
    #expect(try #require(statistics.standardDeviation).isFinite)
    #expect(statistics.quantization == nil)
  }
}
