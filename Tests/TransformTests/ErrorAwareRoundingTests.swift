import Formats
import Foundation
import LinearAlgebra
import TestSupport
import Testing

@testable import Transform

@Suite struct ErrorAwareRoundingTests {
  private static func normal(_ rows: Int, _ columns: Int, seed: UInt64) -> Matrix {
    var generator = SplitMix(seed: seed)
    return Matrix(
      rows: rows, columns: columns,
      values: (0..<rows * columns).map { _ in Double(generator.nextNormal()) })
  }

  /// Returns correlated rows about a mean, and their exact moments with a quantizer.
  private static func site(bits: Int, columns: Int = 8, seed: UInt64 = 1, isMeasured: Bool = true)
    throws -> (rows: Matrix, site: SiteStatistics, activation: ActivationQuantizer)
  {
    let mixing = normal(columns, columns, seed: seed)
    var rows = normal(20_000, columns, seed: seed + 1).multiplied(by: mixing)
    for row in 0..<rows.rows {
      for column in 0..<columns {
        rows[row, column] = Double(Float(rows[row, column] + 0.5 * Double(column % 3)))
      }
    }
    let place = ActivationSite(
      name: "a.input", kind: .input, weightName: "a.weight", columnCount: columns)
    let values = rows.values.map { Float($0) }
    var plain = SiteAccumulator(place)
    try values.withUnsafeBufferPointer { try plain.add($0, columns: columns) }
    let activation = ActivationBounds(method: .dobi, bitWidth: bits)
      .bounds(of: try plain.statistics(), siteName: "a.input")
    var measured = SiteAccumulator(place, quantizers: isMeasured ? [activation] : [])
    try values.withUnsafeBufferPointer { try measured.add($0, columns: columns) }
    return (rows, try measured.statistics(), activation)
  }

  private func quantized(_ rows: Matrix, _ activation: ActivationQuantizer) -> Matrix {
    let code = activation.code
    return Matrix(
      rows: rows.rows, columns: rows.columns,
      values: rows.values.map { Double(code.decode(code.encode(Float($0)))) })
  }

  @Test(arguments: [2, 3, 4]) func relativeErrorMatchesSamples(_ bits: Int) throws {
    let (rows, site, activation) = try Self.site(bits: bits)
    let weight = Self.normal(5, 8, seed: 40)
    let other = weight.adding(Self.normal(5, 8, seed: 41), times: 0.1)
    let images = quantized(rows, activation)
    for isCentered in [false, true] {
      let moments = try #require(
        InputMoments(site, activation: activation, isCentered: isCentered))
      let outputs = rows.multiplied(by: weight, otherSide: .transposed)
      let approximate = images.multiplied(by: other, otherSide: .transposed)
      var (signal, noise) = (0.0, 0.0)
      for column in 0..<5 {
        let pairs = (0..<rows.rows).map { (outputs[$0, column], approximate[$0, column]) }
        let count = Double(pairs.count)
        let mean = isCentered ? pairs.reduce(0) { $0 + $1.0 } / count : 0
        let shift = isCentered ? pairs.reduce(0) { $0 + $1.1 } / count : 0
        for (output, found) in pairs {
          signal += (output - mean) * (output - mean)
          noise += (output - mean - found + shift) * (output - mean - found + shift)
        }
      }
      let error = moments.relativeError(of: other, from: weight)
      #expect(abs(error - noise / signal) < 1e-8 * error)
    }
  }

  @Test(arguments: [2, 3, 4]) func gaussianMomentsAreNearMeasuredOnes(_ bits: Int) throws {
    let (_, measured, activation) = try Self.site(bits: bits)
    var guessed = measured
    guessed.quantized = [:]
    let exact = try #require(InputMoments(measured, activation: activation, isCentered: true))
    let estimate = try #require(InputMoments(guessed, activation: activation, isCentered: true))
    func distance(_ left: Matrix, _ right: Matrix) -> Double {
      let difference = left.adding(right, times: -1)
      return (difference.inner(difference) / right.inner(right)).squareRoot()
    }
    #expect(distance(estimate.cross, exact.cross) < 0.03)
    #expect(distance(estimate.quantized, exact.quantized) < 0.1)
    for (left, right) in zip(estimate.quantizedMean, exact.quantizedMean) {
      #expect(abs(left - right) < 0.05)
    }
  }

  /// Each row has its own bounds, which cut off little of a Gaussian's tails.
  @Test(arguments: [2, 4]) func momentsOfScaledRowsAreNearMeasuredOnes(_ bits: Int) throws {
    let (rows, plain, _) = try Self.site(bits: bits)
    let activation = ActivationBounds(method: .free, bitWidth: bits, scaling: .row)
      .bounds(of: plain, siteName: "a.input")
    #expect(activation.scaling == .row)
    let place = ActivationSite(
      name: "a.input", kind: .input, weightName: "a.weight", columnCount: rows.columns)
    var accumulator = SiteAccumulator(place, quantizers: [activation])
    try rows.values.map { Float($0) }.withUnsafeBufferPointer {
      try accumulator.add($0, columns: rows.columns)
    }
    let measured = try accumulator.statistics()
    let exact = try #require(InputMoments(measured, activation: activation, isCentered: true))
    let estimate = try #require(InputMoments(plain, activation: activation, isCentered: true))
    func distance(_ left: Matrix, _ right: Matrix) -> Double {
      let difference = left.adding(right, times: -1)
      return (difference.inner(difference) / right.inner(right)).squareRoot()
    }
    #expect(distance(estimate.cross, exact.cross) < 0.1)
    #expect(distance(estimate.quantized, exact.quantized) < 0.15)
    for (left, right) in zip(estimate.quantizedMean, exact.quantizedMean) {
      #expect(abs(left - right) < 0.1)
    }
  }

  /// The gradient of `E‖Wx − W*x̂‖² + λ‖W* − W‖²` vanishes at `W*`.
  @Test func absorbingSolvesRidgeProblem() throws {
    let (_, site, activation) = try Self.site(bits: 2)
    let moments = try #require(InputMoments(site, activation: activation, isCentered: true))
    let weight = Self.normal(5, 8, seed: 3)
    let rounding = ErrorAwareRounding()
    let found = try rounding.absorbing(moments, in: weight)
    let lambda = rounding.ridge * moments.quantized.diagonal.reduce(0, +) / 8
    let gradient = found.multiplied(by: moments.quantized)
      .adding(weight.multiplied(by: moments.cross), times: -1)
      .adding(found.adding(weight, times: -1), times: lambda)
    #expect(gradient.values.allSatisfy { abs($0) < 1e-10 })
    #expect(
      moments.relativeError(of: found, from: weight)
        < moments.relativeError(of: weight, from: weight))
  }

  /// Returns the codes of a plain transcription of GPTQ's algorithm, which updates the inverse
  /// column by column.
  private func reference(_ weight: Matrix, _ moment: Matrix, _ code: AffineCode) throws -> [UInt8] {
    let count = weight.columns
    let order = (0..<count).sorted {
      moment[$0, $0] == moment[$1, $1] ? $0 < $1 : moment[$0, $0] > moment[$1, $1]
    }
    let damped = moment.addingToDiagonal(0.01 * moment.diagonal.reduce(0, +) / Double(count))
    var inverse = try Cholesky(of: damped).inverse()
    var remaining = weight
    var codes = [UInt8](repeating: 0, count: weight.values.count)
    for (step, column) in order.enumerated() {
      let pivot = inverse[column, column]
      for row in 0..<weight.rows {
        let quantized = code.encode(Float(remaining[row, column]))
        codes[row * count + column] = UInt8(quantized)
        let error = (remaining[row, column] - Double(code.decode(quantized))) / pivot
        for later in order[(step + 1)...] {
          remaining[row, later] -= error * inverse[column, later]
        }
      }
      // Eliminate the column from the inverse (OBS, equation 3 of GPTQ).
      let old = inverse
      for first in order[(step + 1)...] {
        for second in order[(step + 1)...] {
          inverse[first, second] -= old[first, column] * old[column, second] / pivot
        }
      }
    }
    return codes
  }

  @Test(arguments: [1, 2, 4, 8]) func roundingMatchesGPTQ(_ bits: Int) throws {
    let (_, site, _) = try Self.site(bits: 2)
    let moment = try #require(site.moments).second
    let weight = Self.normal(6, 8, seed: 50)
    let code = AffineCode(lower: -2, scale: 4 / Float(1 << bits - 1), bitWidth: bits)
    let found = try ErrorAwareRounding().round(weight, moment: moment) { _, _ in code }
    #expect(found == (try reference(weight, moment, code)))
  }

  @Test func roundingBeatsNearestUnlessUncorrelated() throws {
    let (_, site, _) = try Self.site(bits: 2)
    let moment = try #require(site.moments).second
    var sums = (aware: 0.0, nearest: 0.0)
    for seed in 0..<20 as Range<UInt64> {
      let weight = Self.normal(6, 8, seed: 60 + seed)
      let code = AffineCode(lower: -2, scale: 4 / 7, bitWidth: 3)
      func error(_ codes: [UInt8]) -> Double {
        Matrix(
          rows: 6, columns: 8,
          values: zip(weight.values, codes).map { $0 - Double(code.decode(Float($1))) }
        ).energy(moment)
      }
      let nearest = weight.values.map { UInt8(code.encode(Float($0))) }
      let rounding = ErrorAwareRounding()
      sums.aware += error(try rounding.round(weight, moment: moment) { _, _ in code })
      sums.nearest += error(nearest)
      for plain in [Matrix(identity: 8), Matrix(zerosOfRows: 8, columns: 8)] {
        #expect(try rounding.round(weight, moment: plain) { _, _ in code } == nearest)
      }
    }
    #expect(sums.aware < 0.8 * sums.nearest)
  }

  @Test(arguments: [QuantizationGranularity.tensor, .channel, .group(3)])
  func cellIndexMatchesLayout(_ granularity: QuantizationGranularity) throws {
    let layout = try AffineLayout(
      rows: 6, columns: 8, granularity: granularity, parts: granularity == .tensor ? 3 : 1)
    for index in 0..<layout.cellCount {
      let cell = layout.cell(index)
      for row in cell.rows {
        for column in cell.columns { #expect(layout.cellIndex(row: row, column: column) == index) }
      }
    }
  }
}
