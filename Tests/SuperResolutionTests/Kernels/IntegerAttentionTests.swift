import CKernels
import Foundation
import TestSupport
import Testing

@testable import SuperResolution

@Suite struct IntegerAttentionTests {
  /// Tokens, heads and elements of a head, with part of a block, whole ones, and several.
  static let shapes = [
    (1, 1, 1), (6, 1, 4), (16, 3, 5), (61, 5, 7), (64, 6, 10), (64, 2, 33), (300, 2, 17),
  ]

  /// Random codes of queries, keys and values, and what the kernel is given besides.
  struct Sample {
    let tokens: Int
    let heads: Int
    let head: Int
    var channels: Int { heads * head }
    let levels: [Float]
    let attention: IntegerAttention
    /// [token, 3 · channels]
    let codes: [UInt8]
    let (biases, mask): ([Float], [Float])
    let (query, key, value, probabilities): (ck_quantizer, ck_quantizer, ck_quantizer, ck_quantizer)

    init(
      _ shape: (Int, Int, Int), levels: [Float] = [15, 7, 15, 15], isRowScaled: Bool = false,
      isNormalized: Bool = false
    ) throws {
      (tokens, heads, head) = shape
      self.levels = levels
      func quantizer(_ lower: Float, _ upper: Float, _ index: Int) -> ck_quantizer {
        ck_quantizer(
          lower: lower, upper: upper, levels: levels[index],
          is_row_scaled: index == 3 && isRowScaled, group_size: 0,
          is_normalized: index == 3 && isNormalized)
      }
      query = quantizer(-1.5, 2, 0)
      key = quantizer(-3, 3.3, 1)
      value = quantizer(-2, 2.5, 2)
      probabilities = isRowScaled ? quantizer(0.02, 0.9, 3) : quantizer(0.01, 0.3, 3)
      attention = try #require(
        IntegerAttention(
          tokens: tokens, heads: heads, headChannels: head, query: query, key: key, value: value,
          probabilities: probabilities))
      var random = SplitMix(seed: UInt64(tokens * 10000 + heads * 100 + head))
      let channels = heads * head
      codes = (0..<tokens * 3 * channels).map { index in
        UInt8.random(in: 0...UInt8(levels[index / channels % 3]), using: &random)
      }
      biases = random.normals(heads * tokens * tokens)
      mask = (0..<tokens * tokens).map { $0 % 7 == 3 ? -100 : 0 }
    }

    func run(
      level: UInt32, masked: Bool, nanToken: Int? = nil, codingBy output: ck_quantizer? = nil
    ) throws -> (values: [Float], codes: [UInt8], marks: [Float]) {
      let biases = try #require(IntegerAttention.terms(biases))
      let mask = try #require(IntegerAttention.terms(mask))
      let columns = 3 * channels
      var memory = [Float](
        repeating: 0, count: CodeRows.floatCount(rows: tokens, columns: columns))
      var results = [Float](
        repeating: 0, count: CodeRows.floatCount(rows: tokens, columns: channels))
      var values = [Float](repeating: 0, count: tokens * channels)
      var scratch = [Float](repeating: .nan, count: attention.scratchCount)
      var found: [UInt8] = []
      var marks: [Float] = []
      VectorLevels.at(level) {
        memory.write { memory in
          let rows = CodeRows(memory, rows: tokens, columns: columns)
          for token in 0..<tokens {
            rows.native.marks[token] = token == nanToken ? .nan : 0
            for column in 0..<columns {
              rows.native.codes[token * rows.native.stride + column] =
                codes[token * columns + column]
            }
          }
          results.write { results in
            let coded = CodeRows(results, rows: tokens, columns: channels)
            values.write { values in
              let target =
                output.map { IntegerAttention.Target.codes(coded, by: $0) }
                ?? .values(values, stride: channels)
              scratch.write {
                attention.apply(
                  rows, biases: biases, mask: masked ? mask : nil, to: target, scratch: $0)
              }
            }
            guard output != nil else { return }
            for token in 0..<tokens {
              marks.append(coded.native.marks[token])
              for column in 0..<channels {
                found.append(coded.native.codes[token * coded.native.stride + column])
              }
            }
          }
        }
      }
      return (values, found, marks)
    }

    /// Returns what a code stands for.
    private func decoded(_ quantizer: ck_quantizer, _ token: Int, _ column: Int) -> Double {
      let step = Double(quantizer.upper - quantizer.lower) / Double(quantizer.levels)
      return Double(quantizer.lower) + step * Double(codes[token * 3 * channels + column])
    }

    /// The definition in double precision, and the largest distance by which a probability of a code's step
    /// may be another.
    func expected(masked: Bool) -> [Double] {
      var results = [Double](repeating: 0, count: tokens * channels)
      for index in 0..<heads {
        for token in 0..<tokens {
          let scores = (0..<tokens).map { other -> Double in
            var sum = 0.0
            for column in index * head..<(index + 1) * head {
              sum += decoded(query, token, column) * decoded(key, other, channels + column)
            }
            let place = other * tokens + token
            return sum + Double(biases[index * tokens * tokens + place])
              + (masked ? Double(mask[place]) : 0)
          }
          let highest = scores.max() ?? 0
          let powers = scores.map { exp($0 - highest) }
          let sum = powers.reduce(0, +)
          let largest = probabilities.is_row_scaled ? 1 / sum : 1
          let lower = Double(probabilities.lower) * largest
          let upper = Double(probabilities.upper) * largest
          let step = (upper - lower) / Double(probabilities.levels)
          let rounded = powers.map { power in
            let clipped = min(max(power / sum, lower), upper)
            return ((clipped - lower) / step).rounded(.toNearestOrEven) * step + lower
          }
          let total = probabilities.is_normalized ? rounded.reduce(0, +) : 1
          for (other, probability) in rounded.enumerated() {
            for column in index * head..<(index + 1) * head {
              results[token * channels + column] +=
                probability / total * decoded(value, other, 2 * channels + column)
            }
          }
        }
      }
      return results
    }
  }

  @Test(arguments: shapes, [(false, false), (true, false), (false, true), (true, true)])
  func attentionMatchesDefinition(
    shape: (Int, Int, Int), kind: (isRowScaled: Bool, isNormalized: Bool)
  ) throws {
    let sample = try Sample(shape, isRowScaled: kind.isRowScaled, isNormalized: kind.isNormalized)
    let range = ck_quantizer(lower: -1, upper: 1.5, levels: 15, is_row_scaled: false, group_size: 0)
    for masked in [false, true] {
      let reference = try sample.run(level: 0, masked: masked)
      // A probability between two codes may become either.
      let expected = sample.expected(masked: masked)
      let differences = zip(reference.values, expected).map { abs(Double($0) - $1) }
      #expect(differences.count { $0 > 1e-4 } <= differences.count / 50)
      #expect(differences.allSatisfy { $0 < 0.2 })
      let coded = try sample.run(level: 0, masked: masked, codingBy: range)
      #expect(coded.marks.allSatisfy { $0 == 0 })
      for (code, value) in zip(coded.codes, reference.values) {
        let steps = (min(max(value, -1), 1.5) + 1) / (2.5 / 15)
        #expect(abs(Float(code) - steps) <= 0.501)
      }
      for level in VectorLevels.available {
        let found = try sample.run(level: level, masked: masked)
        #expect(found.values.bits == reference.values.bits)
        let codes = try sample.run(level: level, masked: masked, codingBy: range)
        #expect(codes.codes == coded.codes)
      }
    }
  }

  @Test(arguments: VectorLevels.available)
  func notANumberReachesAllResults(level: UInt32) throws {
    let sample = try Sample((16, 3, 5))
    let range = ck_quantizer(lower: -1, upper: 1, levels: 3, is_row_scaled: false, group_size: 0)
    #expect(try sample.run(level: level, masked: false, nanToken: 3).values.allSatisfy(\.isNaN))
    let coded = try sample.run(level: level, masked: false, nanToken: 3, codingBy: range)
    #expect(coded.marks.count == 16 && coded.marks.allSatisfy(\.isNaN))
  }

  @Test func unsuitableQuantizersAreRefused() {
    func quantizer(
      _ lower: Float = -1, _ upper: Float = 1, levels: Float = 15, isRowScaled: Bool = false,
      group: Int = 0
    ) -> ck_quantizer {
      ck_quantizer(
        lower: lower, upper: upper, levels: levels, is_row_scaled: isRowScaled, group_size: group)
    }
    let plain = quantizer()
    func takes(
      query: ck_quantizer? = nil, key: ck_quantizer? = nil, value: ck_quantizer? = nil,
      probabilities: ck_quantizer? = nil, tokens: Int = 16, head: Int = 4
    ) -> Bool {
      IntegerAttention(
        tokens: tokens, heads: 2, headChannels: head, query: query ?? plain, key: key ?? plain,
        value: value ?? plain, probabilities: probabilities ?? plain) != nil
    }
    #expect(takes())
    #expect(takes(probabilities: quantizer(isRowScaled: true)))
    let unsuitable = [
      quantizer(levels: 255), quantizer(levels: 2.5), quantizer(group: 4), quantizer(1, -1),
      quantizer(-.infinity), quantizer(-1, 1e20), quantizer(.nan), quantizer(0, 1e-20),
    ]
    for quantizer in unsuitable {
      #expect(!takes(query: quantizer))
      #expect(!takes(key: quantizer))
      #expect(!takes(value: quantizer))
      #expect(!takes(probabilities: quantizer))
    }
    #expect(!takes(query: quantizer(isRowScaled: true)))
    #expect(!takes(value: quantizer(isRowScaled: true)))
    #expect(!takes(tokens: 5000))
    #expect(IntegerAttention.codesResults(by: quantizer(levels: 255)))
    #expect(!IntegerAttention.codesResults(by: quantizer(0, 1e-38)))
    #expect(!IntegerAttention.codesResults(by: quantizer(isRowScaled: true)))
    #expect(!takes(head: 257))
  }

  /// Attention has the same bits at every level, so that what holds for the reference holds for all.
  @Test func powersStayWithinErrorBound() {
    var largest = 0.0
    for x in stride(from: Float(-126), through: 0, by: 0.00137) {
      let expected = exp2(Double(x))
      largest = max(largest, abs(Double(VectorLevels.powerOfTwo(x)) - expected) / expected)
    }
    #expect(largest <= 4e-6)
    #expect(VectorLevels.powerOfTwo(0) == 1)
    for x: Float in [-126.1, -1000, -1e30] {
      #expect((0...1.2e-38).contains(VectorLevels.powerOfTwo(x)))
    }
  }

  @Test func termsMustBeNumbers() {
    #expect(IntegerAttention.terms([0, 1]) == [0, 1.442695])
    #expect(IntegerAttention.terms([.nan]) == nil)
    #expect(IntegerAttention.terms([-.infinity]) == nil)
  }
}
