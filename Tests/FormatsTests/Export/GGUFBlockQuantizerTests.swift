import TestSupport
import Testing

@testable import Formats
@testable import Storage

@Suite struct GGUFBlockQuantizerTests {
  enum Sample: String, CaseIterable {
    case normal, tails, positive

    /// 64 rows of 1,024 values, computed exactly, so that other programs can make the same.
    var values: [Float] {
      (0..<1 << 16).map { index in
        func number(_ seed: UInt64) -> Float {
          var bits = (UInt64(index) &+ seed) &* 0x9E37_79B9_7F4A_7C15
          bits ^= bits >> 32
          bits &*= 0xD6E8_FEB8_6659_FD93
          bits ^= bits >> 32
          return Float(Int(bits >> 48) - 32768) / 32768
        }
        var sum = (number(1) + number(2 << 20)) + (number(3 << 20) + number(4 << 20))
        if self == .tails { sum = sum * sum * sum }
        if self == .positive { sum = abs(sum) + 1 }
        return sum * 0.03125
      }
    }
  }

  /// The mean squared errors of ggml's `ggml_quantize_chunk` without an importance matrix, for the
  /// same values (llama.cpp of October 2026).
  private static let errorsOfGGML: [Sample: [GGUFExportBlocks: Double]] = [
    .normal: [.q4K: 6.215545619113645e-06, .q6K: 3.760929603162681e-07],
    .tails: [.q4K: 0.00020348449572631604, .q6K: 1.4182660603500661e-05],
    .positive: [.q4K: 3.7691440782406955e-06, .q6K: 6.954547581382569e-07],
  ]

  private func meanSquaredError(_ values: [Float], _ found: [Float]) -> Double {
    zip(values, found).reduce(0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }
      / Double(values.count)
  }

  @Test(arguments: Sample.allCases, GGUFExportBlocks.allCases)
  func errorIsComparableWithGGMLs(_ sample: Sample, _ type: GGUFExportBlocks) throws {
    let values = sample.values
    let quantizer = try GGUFBlockQuantizer(type, shape: [64, 1024], padsRows: false)
    let stored = try quantizer.encode(values)
    #expect(stored.count == quantizer.byteCount)
    #expect(stored.count == 64 * 4 * type.blocks.byteCount)
    let error = meanSquaredError(values, quantizer.values(stored))
    let rival = try #require(Self.errorsOfGGML[sample]?[type])
    // Minima cannot hold the lower bounds of positive values, for which ggml searches longer.
    let factor = sample == .positive && type == .q4K ? 1.15 : 1
    #expect(error <= factor * rival)
  }

  /// Rows are independent of one another and of how many are rounded at once.
  @Test(arguments: GGUFExportBlocks.allCases)
  func rowsAreIndependent(_ type: GGUFExportBlocks) throws {
    let values = Sample.tails.values
    let whole = try GGUFBlockQuantizer(type, shape: [64, 1024], padsRows: false).encode(values)
    let row = try GGUFBlockQuantizer(type, shape: [1, 1024], padsRows: false)
    let last = try row.encode(Array(values.suffix(1024)))
    #expect(whole.slice(whole.count - last.count..<whole.count).elementsEqual(last))
  }

  @Test(arguments: GGUFExportBlocks.allCases)
  func rowsArePaddedWithZeros(_ type: GGUFExportBlocks) throws {
    #expect(
      throws: ModelError.unsupported(
        "rows of 300 elements are not whole blocks of 256 in GGUF"
      ).offering(.padding)
    ) {
      try GGUFBlockQuantizer(type, shape: [3, 300], padsRows: false)
    }
    let quantizer = try GGUFBlockQuantizer(type, shape: [3, 300], padsRows: true)
    #expect(quantizer.paddedColumns == 512)
    let values = Array(Sample.normal.values.prefix(900))
    let found = quantizer.values(try quantizer.encode(values))
    #expect(found.count == 900)
    #expect(meanSquaredError(values, found) < 1e-5)
  }

  @Test(arguments: GGUFExportBlocks.allCases)
  func extremeValuesAreKeptOrRefused(_ type: GGUFExportBlocks) throws {
    let quantizer = try GGUFBlockQuantizer(type, shape: [1, 256], padsRows: false)
    func found(_ values: [Float]) throws -> [Float] {
      quantizer.values(try quantizer.encode(values))
    }
    let zeros = [Float](repeating: 0, count: 256)
    #expect(try found(zeros) == zeros)
    // One value among zeros is a multiple of its own scale.
    var single = zeros
    for value: Float in [1, -1, 0.25, -3e4] {
      single[77] = value
      let error = try abs(found(single)[77] - value)
      #expect(error <= abs(value) / 500, "\(value)")
    }
    for value: Float in [.nan, .infinity, 3e38] {
      single[77] = value
      #expect(throws: ModelError.self) { try found(single) }
    }
  }
}
