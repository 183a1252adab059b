import CKernels
import Foundation
import TestSupport
import Testing

@testable import SuperResolution

@Suite struct WindowAttentionTests {
  static let shapes = [
    (64, 64, 10), (64, 64, 15), (7, 9, 30), (65, 41, 7), (1, 1, 1), (0, 3, 2), (130, 5, 11),
  ]

  struct Sample {
    let (queries, keys, head): (Int, Int, Int)
    let stride: Int
    let (q, k, v, bias, mask): ([Float], [Float], [Float], [Float], [Float])

    init(_ shape: (Int, Int, Int)) {
      (queries, keys, head) = shape
      stride = head * 3 + 1
      var random = SplitMix(seed: UInt64(queries * 10000 + keys * 100 + head))
      q = random.normals(queries * stride + 1)
      k = random.normals(keys * stride)
      v = random.normals(keys * stride)
      bias = random.normals(queries * keys + 1)
      mask = (0..<queries * keys + 1).map { $0 % 7 == 3 ? -100 : 0 }
    }

    /// Returns the probabilities, [queries, keys], in double precision.
    func probabilities(scale: Double) -> [[Double]] {
      (0..<queries).map { query in
        let scores = (0..<keys).map { key -> Double in
          var sum = 0.0
          for element in 0..<head {
            sum += Double(q[query * stride + element]) * Double(k[key * stride + element])
          }
          let place = query * keys + key
          return sum * scale + Double(bias[place]) + Double(mask[place])
        }
        let highest = scores.max() ?? 0
        let powers = scores.map { exp($0 - highest) }
        let sum = powers.reduce(0, +)
        return powers.map { $0 / sum }
      }
    }

    func transposed(_ matrix: [Float]) -> [Float] {
      (0..<keys).flatMap { key in (0..<queries).map { matrix[$0 * keys + key] } } + [0]
    }
  }

  @Test(
    arguments: VectorLevels.available, [(6, 1), (10, 10), (60, 10), (60, 30), (34, 17), (9, 3)])
  func headProductsMatchDefinition(level: UInt32, shape: (columns: Int, size: Int)) {
    let (columns, size) = shape
    let (rows, stride) = (37, columns + 5)
    var random = SplitMix(seed: UInt64(columns * 100 + size))
    let (x, y) = (random.normals(rows * stride), random.normals((rows - 1) * stride + columns))
    let start = random.normals(columns * size)
    var sums = start
    VectorLevels.at(level) {
      sums.write { ck_head_products(rows, columns, size, x, stride, y, stride, $0) }
    }
    let expected = (0..<columns * size).map { place -> Double in
      let (column, other) = (place / size, place % size)
      return (0..<rows).reduce(Double(start[place])) { sum, row in
        sum + Double(x[row * stride + column])
          * Double(y[row * stride + column / size * size + other])
      }
    }
    #expect(largestDifference(sums, expected) <= 1e-5)
  }

  @Test(arguments: VectorLevels.available, shapes)
  func windowAttentionMatchesDefinition(level: UInt32, shape: (Int, Int, Int)) {
    let sample = Sample(shape)
    let (queries, keys, head) = shape
    let stride = sample.stride
    let attention = WindowAttention(queries: queries, keys: keys, head: head, scale: 0.3)
    var scratch = [Float](repeating: .nan, count: attention.scratchCount)
    var out = [Float](repeating: 12345, count: queries * (head + 2) + 1)
    var rowMajor = out
    VectorLevels.at(level) {
      scratch.write { scratch in
        out.write {
          attention.apply(
            q: sample.q, stride: stride, k: sample.k, stride: stride, v: sample.v, stride: stride,
            transposedBias: sample.transposed(sample.bias),
            transposedMask: sample.transposed(sample.mask), out: $0, stride: head + 2,
            scratch: scratch)
        }
        rowMajor.write {
          ck_attention(
            queries, keys, head, sample.q, stride, sample.k, stride, sample.v, stride, 0.3,
            sample.bias, sample.mask, nil, $0, head + 2, scratch)
        }
      }
    }
    var expected: [Double] = []
    for probabilities in sample.probabilities(scale: Double(Float(0.3))) {
      for element in 0..<head {
        var sum = 0.0
        for (key, probability) in probabilities.enumerated() {
          sum += probability * Double(sample.v[key * stride + element])
        }
        expected.append(sum)
      }
    }
    for out in [out, rowMajor] {
      let found = rowElements(out, rows: queries, columns: head, stride: head + 2)
      #expect(largestDifference(found, expected) < 1e-5)
      let between = gapElements(out, rows: queries, columns: head, stride: head + 2)
      #expect(between.allSatisfy { $0 == 12345 })
    }
  }

  /// Returns the probabilities, which are the results when the values are the unit matrix.
  private func quantizedProbabilities(
    _ sample: Sample, _ quantizer: ck_quantizer, level: UInt32
  ) -> [Float] {
    let unit = (0..<13 * 13).map { Float($0 % 14 == 0 ? 1 : 0) }
    let attention = WindowAttention(
      queries: 19, keys: 13, head: 13, scale: 0.3, quantizer: quantizer)
    var scratch = [Float](repeating: .nan, count: attention.scratchCount)
    var out = [Float](repeating: 0, count: 19 * 13)
    VectorLevels.at(level) {
      scratch.write { scratch in
        out.write {
          attention.apply(
            q: sample.q, stride: sample.stride, k: sample.k, stride: sample.stride, v: unit,
            stride: 13, transposedBias: sample.transposed(sample.bias),
            transposedMask: sample.transposed(sample.mask), out: $0, stride: 13, scratch: scratch)
        }
      }
    }
    return out
  }

  @Test(arguments: VectorLevels.available)
  func quantizesProbabilities(level: UInt32) {
    let sample = Sample((19, 13, 13))
    let quantizer = ck_quantizer(
      lower: 0, upper: 0.6, levels: 15, is_row_scaled: false, group_size: 0)
    let out = quantizedProbabilities(sample, quantizer, level: level)
    let step = 0.04
    for (found, probability) in zip(out, sample.probabilities(scale: 0.3).flatMap { $0 }) {
      let code = Double(found) / step
      #expect(abs(code - code.rounded()) < 1e-5)
      #expect(abs(Double(found) - min(probability, 0.6)) <= step / 2 + 1e-6)
    }
  }

  @Test(arguments: VectorLevels.available)
  func quantizesProbabilitiesByLargestOfQuery(level: UInt32) {
    let sample = Sample((19, 13, 13))
    let quantizer = ck_quantizer(
      lower: 0, upper: 0.9, levels: 15, is_row_scaled: true, group_size: 0)
    let out = quantizedProbabilities(sample, quantizer, level: level)
    for (query, row) in sample.probabilities(scale: 0.3).enumerated() {
      let upper = 0.9 * (row.max() ?? 0)
      let step = upper / 15
      for (found, probability) in zip(out[query * 13..<(query + 1) * 13], row) {
        let code = Double(found) / step
        #expect(abs(code - code.rounded()) < 1e-4)
        #expect(abs(Double(found) - min(probability, upper)) <= step / 2 + 1e-6)
      }
    }
  }

  @Test(arguments: VectorLevels.available, [false, true])
  func normalizesProbabilities(level: UInt32, isRowScaled: Bool) {
    let sample = Sample((19, 13, 13))
    var quantizer = ck_quantizer(
      lower: 0, upper: 0.5, levels: 7, is_row_scaled: isRowScaled, group_size: 0)
    let rounded = quantizedProbabilities(sample, quantizer, level: level)
    quantizer.is_normalized = true
    let found = quantizedProbabilities(sample, quantizer, level: level)
    for query in 0..<19 {
      let row = query * 13..<(query + 1) * 13
      let sum = rounded[row].reduce(0, +)
      #expect(sum > 0)
      #expect(zip(found[row], rounded[row]).allSatisfy { abs($0 - $1 / sum) < 1e-5 })
    }
    // What has no sum stays as it is.
    quantizer.upper = 0
    #expect(quantizedProbabilities(sample, quantizer, level: level).allSatisfy { $0 == 0 })
  }

  @Test(arguments: VectorLevels.available)
  func maskedKeysAreIgnored(level: UInt32) {
    let attention = WindowAttention(queries: 2, keys: 2, head: 1, scale: 1)
    var scratch = [Float](repeating: .nan, count: attention.scratchCount)
    var out: [Float] = [0, 0]
    // Query 0 sees only key 1; query 1 sees no key.
    let mask: [Float] = [-.infinity, -.infinity, 0, -.infinity]
    VectorLevels.at(level) {
      scratch.write { scratch in
        out.write {
          attention.apply(
            q: [1, 1], stride: 1, k: [1, 1], stride: 1, v: [2, 3], stride: 1, transposedBias: nil,
            transposedMask: mask, out: $0, stride: 1, scratch: scratch)
        }
      }
    }
    #expect(out[0] == 3 && out[1].isNaN)
  }
}
