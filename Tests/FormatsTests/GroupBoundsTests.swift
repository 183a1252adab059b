import Storage
import TestSupport
import Testing

@testable import Formats

/// The joint search for scales and lower bounds of groups.
@Suite struct GroupBoundsTests {
  private static func encoder(
    _ values: [Float], rows: Int, group: Int, bitWidth: Int,
    _ parameterType: QuantizationParameterType = .scaled6
  ) throws -> TensorEncoder {
    let shape: Shape = [rows, values.count / rows]
    let layout = try AffineLayout(shape: shape, granularity: .group(group))
    return try TensorEncoder(
      SharedBytes(elementsOf: values), elementType: .float32, shape: shape,
      spec: AffineSpec(layout: layout, bitWidth: bitWidth, parameterType: parameterType))
  }

  private static func normal(_ count: Int, seed: UInt64 = 1) -> [Float] {
    var random = SplitMix(seed: seed)
    return (0..<count).map { _ in 0.02 * random.nextNormal() }
  }

  /// Rows whose groups end in a narrower one, at every level, with and without importance.
  @Test(arguments: VectorLevels.available, [2, 4])
  func boundsAreTheSameAtEveryLevel(_ level: UInt32, bitWidth: Int) throws {
    let values = Self.normal(37 * 150)
    let encoder = try Self.encoder(values, rows: 37, group: 64, bitWidth: bitWidth)
    let importance = Self.normal(150, seed: 2).map(abs)
    func found(_ level: UInt32) throws -> [AffineParameters] {
      try VectorLevels.at(level) {
        [try encoder.groupParameters(), try encoder.groupParameters(importance: importance)]
      }
    }
    #expect(try found(level) == found(VectorLevels.available[0]))
  }

  /// Gaussian weights at the error of an exhaustive search for real bounds within 0.1 dB: about
  /// 9.7, 15.4 and 21.4 dB in groups of 64, where ranges from minimum to maximum give 6.2, 13.8 and
  /// 20.7.
  @Test(arguments: [(2, 9.5), (3, 15.1), (4, 21.1)])
  func errorOfGaussianWeightsIsNearOptimum(bitWidth: Int, decibels: Double) throws {
    let encoder = try Self.encoder(
      Self.normal(64 * 384), rows: 64, group: 64, bitWidth: bitWidth)
    let cost = try encoder.encode(encoder.groupParameters()).cost
    #expect(cost.signalToNoise > decibels)
  }

  /// What codes of parameters cost is small beside what their bits buy.
  @Test(arguments: [2, 3, 4])
  func codesOfParametersCostLittle(bitWidth: Int) throws {
    let values = Self.normal(64 * 384)
    func decibels(_ type: QuantizationParameterType) throws -> Double {
      let encoder = try Self.encoder(values, rows: 64, group: 64, bitWidth: bitWidth, type)
      return try encoder.encode(encoder.groupParameters()).cost.signalToNoise
    }
    #expect(try decibels(.scaled6) > decibels(.float32) - 0.1)
  }

  @Test func importantColumnsAreNearer() throws {
    let values = Self.normal(32 * 128)
    let encoder = try Self.encoder(values, rows: 32, group: 64, bitWidth: 2)
    let importance = (0..<128).map { Float($0 % 4 == 0 ? 10 : 0.1) }
    func error(_ parameters: AffineParameters) throws -> Double {
      let decoded = try encoder.encode(parameters).tensor.floatValues()
      return zip(values, decoded).enumerated().reduce(0) { sum, pair in
        let difference = Double(pair.element.0 - pair.element.1)
        return sum + Double(importance[pair.offset % 128]) * difference * difference
      }
    }
    let weighted = try error(encoder.groupParameters(importance: importance))
    #expect(try weighted < 0.8 * error(encoder.groupParameters()))
  }

  @Test func equalValuesAndRowsOfZerosAreKept() throws {
    let values =
      [Float](repeating: 0, count: 8) + [Float](repeating: 3, count: 4)
      + [Float](repeating: -0.7, count: 4)
    let encoder = try Self.encoder(values, rows: 2, group: 4, bitWidth: 3)
    let decoded = try encoder.encode(encoder.groupParameters()).tensor.floatValues()
    #expect(Array(decoded[..<8]) == Array(values[..<8]))
    for (value, found) in zip(values[8...], decoded[8...]) { #expect(abs(value - found) < 0.01) }
  }

  /// One group per row, wider than a row, and groups of one value.
  @Test(arguments: [1, 3, 7, 100])
  func anyGroupSizeIsSearched(group: Int) throws {
    let values = Self.normal(5 * 7)
    let encoder = try Self.encoder(values, rows: 5, group: group, bitWidth: 4)
    let cost = try encoder.encode(encoder.groupParameters()).cost
    #expect(cost.signalToNoise > 17)
  }
}
