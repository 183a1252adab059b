import CKernels
import Foundation
import TestSupport
import Testing

@testable import SuperResolution
@testable import Transform

@Suite struct ActivationTests {
  /// Small and large values of both signs, and non-finite ones; their count is odd.
  static let inputs: [Float] =
    stride(from: Float(-12), through: 12, by: 0.0137).map { $0 }
    + [0, -0.0, 1e-30, -1e-30, 100, -100, 3e38, -3e38, .infinity, -.infinity, .nan]

  @Test(arguments: VectorLevels.available)
  func geluStaysWithinErrorBound(level: UInt32) {
    var y = Self.inputs
    VectorLevels.at(level) { y.write { ck_gelu($0, Self.inputs.count) } }
    for (x, y) in zip(Self.inputs, y) {
      if x.isNaN || x == -.infinity {
        #expect(y.isNaN)
      } else {
        let expected = exactGELU(Double(x))
        #expect(Double(y) == expected || abs(Double(y) - expected) <= 1e-6 * max(1, abs(Double(x))))
      }
    }
  }

  @Test(arguments: VectorLevels.available)
  func sigmoidMatchesDefinition(level: UInt32) {
    var y = Self.inputs
    VectorLevels.at(level) { y.write { ck_sigmoid($0, Self.inputs.count) } }
    let expected = Self.inputs.map { 1 / (1 + exp(-Double($0))) }
    #expect(largestDifference(y, expected) < 1e-6)
  }

  @Test(arguments: VectorLevels.available)
  func siluAndMishMatchDefinitions(level: UInt32) {
    let inputs = Self.inputs.filter { $0 > -1e38 }
    var (silu, mish) = (inputs, inputs)
    VectorLevels.at(level) {
      silu.write { ck_silu($0, inputs.count) }
      mish.write { ck_mish($0, inputs.count) }
    }
    #expect(largestDifference(silu, inputs.map { Double($0) / (1 + exp(-Double($0))) }) < 1e-6)
    #expect(
      largestDifference(mish, inputs.map { Double($0) * tanh(log1p(exp(min(700, Double($0))))) })
        < 1e-6)
  }

  @Test(arguments: VectorLevels.available, [1, 7, 10, 16, 60, 61, 180])
  func softmaxMatchesDefinition(level: UInt32, columns: Int) {
    var random = SplitMix(seed: UInt64(columns))
    var x = random.normals(9 * columns).map { $0 * 20 }
    // The first row has one probability of zero; the next three have no probabilities.
    if columns > 1 { x[columns - 1] = -.infinity }
    x[columns] = .nan
    x[2 * columns] = .infinity
    for column in 0..<columns { x[3 * columns + column] = -.infinity }
    var y = x
    VectorLevels.at(level) { y.write { ck_softmax($0, 9, columns) } }
    for row in 0..<9 {
      let found = Array(y[row * columns..<(row + 1) * columns])
      if (1...3).contains(row) {
        #expect(found.allSatisfy { $0.isNaN })
        continue
      }
      let logits = x[row * columns..<(row + 1) * columns]
      let highest = logits.max() ?? 0
      // The rounded difference is taken here, because a large one multiplies the rounding error;
      // the rest must be precise.
      let powers = logits.map { exp(Double($0 - highest)) }
      let sum = powers.reduce(0, +)
      for (found, power) in zip(found, powers) {
        #expect(abs(Double(found) - power / sum) <= 2e-6 * power / sum + 1e-37)
      }
    }
  }

  @Test(arguments: VectorLevels.available, [1, 10, 60, 61, 180])
  func layerNormMatchesDefinition(level: UInt32, columns: Int) {
    var random = SplitMix(seed: UInt64(columns))
    let stride = columns + 3
    let x = random.normals(7 * stride).map { $0 * 3 + 5 }
    let (gamma, beta) = (random.normals(columns), random.normals(columns))
    let layer = LayerNormalization(gamma: gamma, beta: beta)
    var y = x
    var inPlace = x
    VectorLevels.at(level) {
      y.write { layer.apply(rows: 7, x, stride: stride, to: $0, stride: stride) }
      inPlace.write { layer.apply(rows: 7, $0, stride: stride, to: $0, stride: stride) }
    }
    #expect(y.bits == inPlace.bits)
    for row in 0..<7 {
      let values = x[row * stride..<row * stride + columns].map(Double.init)
      let mean = values.reduce(0, +) / Double(columns)
      let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(columns)
      let expected = values.indices.map {
        (values[$0] - mean) / (variance + 1e-5).squareRoot() * Double(gamma[$0]) + Double(beta[$0])
      }
      // With one column, the mean of one rounded number is that number, so nothing is left of it.
      #expect(largestDifference(Array(y[row * stride..<row * stride + columns]), expected) < 2e-5)
      let rest = row * stride + columns..<(row + 1) * stride
      #expect(Array(y[rest]).bits == Array(x[rest]).bits)
    }
  }

  @Test(arguments: VectorLevels.available)
  func quantizationMatchesFormulaBitForBit(level: UInt32) {
    var random = SplitMix(seed: 7)
    for (lower, upper, levels) in [
      (-0.7, 0.9, 3), (0, 1, 15), (-1.3, 1.7, 255), (-8, 7.5, 31), (-100, 100, 65535),
      (1, 1, 15), (1, -1, 15),
    ] as [(Float, Float, Float)] {
      let step = (upper - lower) / levels
      // These are all ties, and values on both sides of them.
      let ties = (0..<Int(min(levels, 300))).map { lower + (Float($0) + 0.5) * step }
      let x =
        ties + ties.map(\.nextUp) + ties.map(\.nextDown) + random.normals(301)
        + [.infinity, -.infinity, .nan]
      var y = x
      var quantizer = ck_quantizer(
        lower: lower, upper: upper, levels: levels, is_row_scaled: false, group_size: 0)
      VectorLevels.at(level) { y.write { ck_quantize(&quantizer, $0, 1, x.count, x.count) } }
      let expected = x.map { x -> Float in
        if x.isNaN { return x }
        if !(upper > lower) { return lower }
        let code = ((min(max(x, lower), upper) - lower) / step).rounded(.toNearestOrEven)
        return code * step + lower
      }
      #expect(zip(y, expected).allSatisfy { $0 == $1 || ($0.isNaN && $1.isNaN) })
    }
  }

  @Test(arguments: VectorLevels.available)
  func rowsAreQuantizedByTheirMagnitude(level: UInt32) {
    var random = SplitMix(seed: 8)
    var quantizer = ck_quantizer(
      lower: -0.9, upper: 0.8, levels: 15, is_row_scaled: true, group_size: 0)
    for columns in [1, 3, 16, 21, 60] {
      let stride = columns + 2
      let sizes: [Float] = [1, 1e-3, 3e20, 0, 1e-35]
      var x = random.normals(sizes.count * stride)
      for index in x.indices { x[index] *= sizes[index / stride] }
      var y = x
      VectorLevels.at(level) {
        y.write { ck_quantize(&quantizer, $0, sizes.count, columns, stride) }
      }
      for (row, size) in sizes.enumerated() {
        let elements = row * stride..<row * stride + columns
        let largest = x[elements].reduce(0) { max($0, abs($1)) }
        let found = x[elements].withUnsafeBufferPointer { buffer in
          VectorLevels.at(level) { ck_row_magnitude(buffer.baseAddress, columns) }
        }
        #expect(found == (size > 1e-30 ? largest : 0))
        let (lower, upper) = (quantizer.lower * found, quantizer.upper * found)
        let step = (upper - lower) / quantizer.levels
        for index in elements {
          let code = ((min(max(x[index], lower), upper) - lower) / step).rounded(.toNearestOrEven)
          #expect(y[index] == (found > 0 ? code * step + lower : 0))
        }
        let rest = row * stride + columns..<(row + 1) * stride
        #expect(y[rest] == x[rest])
      }
    }
  }

  @Test(arguments: VectorLevels.available)
  func nonFiniteValuesStayInTheirRow(level: UInt32) {
    var quantizer = ck_quantizer(
      lower: -1, upper: 1, levels: 15, is_row_scaled: true, group_size: 0)
    var y: [Float] = [1, .nan, 0.4, 1, .infinity, 0.4, 1, 1, 0.4]
    VectorLevels.at(level) { y.write { ck_quantize(&quantizer, $0, 3, 3, 3) } }
    #expect(y[0] == 1 && y[1].isNaN && y[2].isFinite)
    #expect(y[3...5].allSatisfy { $0.isNaN })
    #expect(y[8] == y[2])
  }

  @Test(arguments: VectorLevels.available, [2, 3, 16, 20] as [Int])
  func groupsAreQuantizedByTheirRange(level: UInt32, size: Int) {
    var random = SplitMix(seed: 9)
    for (lower, upper) in [(-1, 1), (-0.9, 0.8), (-1.2, 1)] as [(Float, Float)] {
      var quantizer = ck_quantizer(
        lower: lower, upper: upper, levels: 15, is_row_scaled: false, group_size: size)
      for columns in [1, 3, 16, 21, 60] {
        let stride = columns + 2
        let sizes: [Float] = [1, 1e-3, 3e20, 0, 1e-35]
        var x = random.normals(sizes.count * stride)
        for index in x.indices { x[index] = x[index] * sizes[index / stride] + 3 }
        var y = x
        VectorLevels.at(level) {
          y.write { ck_quantize(&quantizer, $0, sizes.count, columns, stride) }
        }
        for row in sizes.indices {
          let elements = row * stride..<row * stride + columns
          for first in Swift.stride(from: elements.lowerBound, to: elements.upperBound, by: size) {
            let group = first..<min(first + size, elements.upperBound)
            let (least, greatest) = (x[group].min() ?? 0, x[group].max() ?? 0)
            let found = x[group].withUnsafeBufferPointer { buffer in
              VectorLevels.at(level) { ck_range_of(buffer.baseAddress, buffer.count) }
            }
            #expect(found.least == least && found.greatest == greatest)
            let low = least * ((1 - lower) / 2) + greatest * ((1 + lower) / 2)
            let high = least * ((1 - upper) / 2) + greatest * ((1 + upper) / 2)
            let step = (high - low) / quantizer.levels
            for index in group {
              let code = ((min(max(x[index], low), high) - low) / step).rounded(.toNearestOrEven)
              #expect(y[index] == (greatest > least ? code * step + low : least))
            }
            guard lower == -1, upper == 1, greatest > least else { continue }
            // The extremes of a group lie on its first and its last level.
            #expect(y[group].min() == least)
            #expect(abs((y[group].max() ?? 0) - greatest) <= 1e-6 * max(abs(least), abs(greatest)))
          }
          let rest = row * stride + columns..<(row + 1) * stride
          #expect(y[rest] == x[rest])
        }
      }
    }
  }

  /// Bounds of many rows and groups are found together, and long rows in pieces.
  @Test(arguments: VectorLevels.available.dropFirst())
  func anyNumberOfRowsAndGroupsHasTheReferencesBits(level: UInt32) throws {
    var random = SplitMix(seed: 10)
    for round in 0..<400 {
      let rows = Int.random(in: 1...70, using: &random)
      let columns = Int.random(in: 1...(round % 10 == 0 ? 5000 : 90), using: &random)
      let stride = columns + Int.random(in: 0...3, using: &random)
      let size = Int.random(in: 2...(round % 3 == 0 ? 200 : 20), using: &random)
      var quantizer = ck_quantizer(
        lower: -0.95, upper: 1, levels: [1, 3, 15, 255, 1023][round % 5],
        is_row_scaled: round % 2 == 0, group_size: round % 2 == 0 ? 0 : round % 4 == 1 ? 16 : size)
      let unit: Float = [1, 0x1p-88, 0x1p-90, 0x1p-95, 0x1p90, 0x1p97][round % 6]
      var x = random.normals(rows * stride).map { $0 * unit }
      if round % 7 == 0 {
        for value in [.nan, .infinity, -.infinity, 3e38, .leastNonzeroMagnitude] as [Float] {
          x[Int.random(in: x.indices, using: &random)] = value
        }
      }
      func quantized(_ level: UInt32) -> [Float] {
        var y = x
        VectorLevels.at(level) { y.write { ck_quantize(&quantizer, $0, rows, columns, stride) } }
        return y
      }
      let (found, expected) = (quantized(level), quantized(0))
      let isSame = zip(found, expected).allSatisfy { $0 == $1 || ($0.isNaN && $1.isNaN) }
      #expect(isSame, "\(rows) × \(columns) of \(quantizer)")
    }
  }

  @Test(arguments: VectorLevels.available)
  func nonFiniteValuesStayInTheirGroup(level: UInt32) {
    var quantizer = ck_quantizer(
      lower: -1, upper: 1, levels: 3, is_row_scaled: false, group_size: 3)
    var y: [Float] = [0, .nan, 3, 1, .infinity, 2, 0, 1, 3, .nan, .nan, .nan, 3e38, -3e38]
    VectorLevels.at(level) { y.write { ck_quantize(&quantizer, $0, 1, 14, 14) } }
    #expect(y[0] == 0 && y[1].isNaN && y[2] == 3)
    #expect(y[3...5].allSatisfy { $0.isNaN })
    #expect(y[6...8] == [0, 1, 3])
    // One group has no numbers at all, and one has a range beyond Float32.
    #expect(y[9...].allSatisfy { $0.isNaN })
  }

  /// Bounds shared by all rows, and a row's own bounds that come to the same.
  @Test(arguments: VectorLevels.available)
  func vanishingAndOverflowingStepsAreHandled(level: UInt32) {
    for (lower, upper, levels, x, expected) in [
      // Steps below the smallest number, as if all bounds were zero, and equal bounds.
      (0, 7 * Float.leastNonzeroMagnitude, 255, [-1, 0, 2], [0, 0, 0]),
      (0.5, 0.5, 3, [-1, 0, 2], [0.5, 0.5, 0.5]),
      // Bounds whose difference is beyond Float32.
      (-3e38, 3e38, 15, [-1, 0, 2], [.nan, .nan, .nan]),
    ] as [(Float, Float, Float, [Float], [Float])] {
      var quantizer = ck_quantizer(
        lower: lower, upper: upper, levels: levels, is_row_scaled: false, group_size: 0)
      var y = x
      VectorLevels.at(level) { y.write { ck_quantize(&quantizer, $0, 1, 3, 3) } }
      #expect(zip(y, expected).allSatisfy { $0 == $1 || ($0.isNaN && $1.isNaN) })
    }
    var quantizer = ck_quantizer(
      lower: 0.1, upper: 0.9, levels: 15, is_row_scaled: true, group_size: 0)
    var y: [Float] = [.infinity, 1, 0, 2e-30, 1e-30, 0]
    VectorLevels.at(level) { y.write { ck_quantize(&quantizer, $0, 2, 3, 3) } }
    #expect(y[..<3].allSatisfy { $0.isNaN })
    #expect(y[3...].allSatisfy { $0.isFinite && $0 > 0 })
    quantizer = ck_quantizer(lower: -1, upper: 1, levels: 15, is_row_scaled: true, group_size: 0)
    y = [3e38, 1, 0]
    VectorLevels.at(level) { y.write { ck_quantize(&quantizer, $0, 1, 3, 3) } }
    #expect(y.allSatisfy { $0.isNaN })
  }
}
