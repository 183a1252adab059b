import CKernels
import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

/// The kernels that quantize tensors, compared with plain Swift at every vector level of this
/// processor.
@Suite struct AffineKernelTests {
  /// Returns normally distributed values of different magnitudes, some of them halfway between two
  /// codes.
  private static func values(_ count: Int, seed: UInt64) -> [Float] {
    var random = SplitMix(seed: seed)
    return (0..<count).map { index in
      switch index % 11 {
      case 3: 0.25 * Float(Int.random(in: -9...9, using: &random))
      case 7: random.nextNormal() * 1e-6
      default: random.nextNormal()
      }
    }
  }

  private static func bytes(_ values: [Float], as type: ElementType) -> SharedBytes {
    type.bytes(rounding: values.map(Double.init))
  }

  @Test(arguments: VectorLevels.available, [ElementType.float16, .bfloat16])
  func everyHalfPrecisionValueIsWidenedExactly(_ level: UInt32, _ type: ElementType) throws {
    let all = (0...UInt16.max).map { $0 }
    var found = [Float](repeating: 0, count: all.count)
    VectorLevels.at(level) {
      ck_widen(
        type == .float16 ? CK_ELEMENT_FLOAT16 : CK_ELEMENT_BFLOAT16, all, all.count, &found)
    }
    let other = zip(all, found).first { bits, value in
      let expected =
        type == .float16
        ? Float(Float16(bitPattern: bits)) : Float(bitPattern: UInt32(bits) << 16)
      return expected.isNaN ? !value.isNaN : value.bitPattern != expected.bitPattern
    }
    #expect(other == nil)
  }

  @Test(arguments: VectorLevels.available, [1, 2, 15, 16, 17, 63, 64, 65, 1000])
  func extremesMatchPlainLoop(_ level: UInt32, _ count: Int) {
    let values = Self.values(count, seed: UInt64(count))
    var (least, largest): (Float, Float) = (0, 0)
    let found = VectorLevels.at(level) { ck_extremes(values, count, &least, &largest) }
    #expect(found == count)
    #expect(least == values.min())
    #expect(largest == values.max())
  }

  /// The lower bound is stored, so the sign of its zero must not depend on the processor.
  @Test(arguments: VectorLevels.available, [3, 40, 200])
  func firstOfSeveralZerosIsMinimum(_ level: UInt32, _ place: Int) {
    for zero: Float in [0, -0.0] {
      var values = [Float](repeating: 1, count: 300)
      values[place] = zero
      values[place + 1] = -zero
      values[290] = -zero
      var (least, largest): (Float, Float) = (0, 0)
      _ = VectorLevels.at(level) { ck_extremes(values, values.count, &least, &largest) }
      #expect(least.bitPattern == zero.bitPattern)
    }
  }

  @Test(arguments: VectorLevels.available, [Float.nan, .infinity, -.infinity])
  func firstNonFiniteValueIsFound(_ level: UInt32, _ odd: Float) {
    for place in [0, 1, 17, 64, 129, 299] {
      var values = [Float](repeating: 1, count: 300)
      values[place] = odd
      values[299] = odd
      var (least, largest): (Float, Float) = (0, 0)
      let found = VectorLevels.at(level) { ck_extremes(values, values.count, &least, &largest) }
      #expect(found == place)
    }
  }

  @Test(arguments: 1...8)
  func packedCodesMatchBitStream(_ bits: Int) throws {
    for count in [0, 1, 7, 8, 9, 63, 64, 65, 1003] {
      var random = SplitMix(seed: UInt64(count))
      let codes = (0..<count).map { _ in UInt8.random(in: 0...UInt8(1 << bits - 1), using: &random)
      }
      let expected = BitStream.pack(codes, bitWidth: bits)
      var found = [UInt8](repeating: 0xAA, count: expected.count)
      ck_pack_codes(codes, count, UInt32(bits), &found)
      #expect(found == expected.array, "\(count)")
    }
  }

  private struct Case: CustomStringConvertible {
    let type: ElementType
    let rows: Int
    let columns: Int
    let granularity: QuantizationGranularity
    let parts: Int
    var description: String { "\(type) [\(rows), \(columns)] \(granularity) \(parts)" }
  }

  private static let cases: [Case] = [ElementType.float32, .float16, .bfloat16, .float64].flatMap {
    [
      Case(type: $0, rows: 1, columns: 1, granularity: .tensor, parts: 1),
      Case(type: $0, rows: 6, columns: 37, granularity: .tensor, parts: 3),
      Case(type: $0, rows: 9, columns: 41, granularity: .channel, parts: 1),
      Case(type: $0, rows: 5, columns: 50, granularity: .group(20), parts: 1),
      // These are longer than a block, or have cells that span blocks.
      Case(type: $0, rows: 3, columns: 16_411, granularity: .tensor, parts: 1),
      Case(type: $0, rows: 5, columns: 9_001, granularity: .channel, parts: 1),
    ]
  }

  /// The bounds and codes equal those of the plain loops bit for bit, and the cost equals the one
  /// measured afterwards.
  @Test(arguments: VectorLevels.available, cases.indices)
  private func encodingMatchesPlainLoops(_ level: UInt32, _ index: Int) throws {
    let item = Self.cases[index]
    let layout = try AffineLayout(
      rows: item.rows, columns: item.columns, granularity: item.granularity, parts: item.parts)
    let shape = try #require(Shape([item.rows, item.columns]))
    let bytes = Self.bytes(
      Self.values(layout.elementCount, seed: UInt64(index)), as: item.type)
    let values = try Tensor(elementType: item.type, shape: shape, bytes: bytes).floatValues()
    for (bits, narrowing) in [(1, 1), (2, 1), (2, 0.6), (4, 0.8), (8, 1)] as [(Int, Float)] {
      try VectorLevels.at(level) {
        let encoder = try TensorEncoder(
          bytes, elementType: item.type, shape: shape,
          spec: AffineSpec(layout: layout, bitWidth: bits))
        guard case .found(let extremes) = encoder.extremes() else {
          Issue.record("all values are finite")
          return
        }
        for cell in 0..<layout.cellCount {
          let elements = values[layout.elements(ofCell: cell)]
          #expect(extremes[cell].least == elements.min())
          #expect(extremes[cell].largest == elements.max())
        }
        let lower = extremes.map { item.type == .float64 ? $0.least : $0.least * narrowing }
        let scale = zip(lower, extremes).map {
          max(0, $1.largest * narrowing - $0) / Float(1 << bits - 1)
        }
        let (found, cost) = try encoder.encode(lower: lower, scale: scale)
        let codes = (0..<layout.cellCount).flatMap { cell in
          let code = AffineCode(lower: lower[cell], scale: scale[cell], bitWidth: bits)
          return values[layout.elements(ofCell: cell)].map { UInt8(code.encode($0)) }
        }
        let expected = try QuantizedTensor(
          elementType: item.type, shape: shape, spec: AffineSpec(layout: layout, bitWidth: bits),
          lower: lower, scale: scale, codes: BitStream.pack(codes, bitWidth: bits))
        #expect(found.codes.elementsEqual(expected.codes), "\(item) at \(bits) bits")
        #expect(found.lower.map(\.bitPattern) == expected.lower.map(\.bitPattern))
        #expect(found.scale.map(\.bitPattern) == expected.scale.map(\.bitPattern))
        let measured = try QuantizationError(of: expected, from: values).cost
        #expect(cost.elementCount == measured.elementCount)
        #expect(cost.clippedCount == measured.clippedCount, "\(item) at \(bits) bits")
        #expect(cost.maximum == measured.maximum)
        #expect(abs(cost.signal - measured.signal) <= 1e-12 * measured.signal)
        #expect(abs(cost.noise - measured.noise) <= 1e-12 * measured.noise)
      }
    }
  }

  @Test func everyVectorLevelGivesSameSums() throws {
    let values = Self.values(5003, seed: 9)
    var costs: [[UInt64]] = []
    for level in VectorLevels.available {
      var cost = ck_affine_cost()
      var code = ck_affine_code(lower: -1, scale: 0.7, bits: 2, type: CK_ELEMENT_FLOAT16)
      var codes = [UInt8](repeating: 0, count: values.count)
      VectorLevels.at(level) { ck_affine_encode(&code, values, values.count, &codes, &cost) }
      costs.append([
        cost.signal.bitPattern, cost.noise.bitPattern, cost.largest_error.bitPattern,
        UInt64(cost.clipped),
      ])
    }
    #expect(Set(costs).count == 1)
  }

  @Test func unsuitableBytesAndTypesAreRefused() throws {
    let layout = try AffineLayout(rows: 2, columns: 3, granularity: .tensor)
    let shape = try #require(Shape([2, 3]))
    let short = SharedBytes([UInt8](repeating: 0, count: 20))
    let tooShort = try #require(throws: ModelError.self) {
      try TensorEncoder(
        short, elementType: .float32, shape: shape, spec: AffineSpec(layout: layout, bitWidth: 2))
    }
    #expect("\(tooShort)" == "expected 24 bytes for float32 [2, 3], found 20")
    let integers = try #require(throws: ModelError.self) {
      try TensorEncoder(
        short, elementType: .int32, shape: shape, spec: AffineSpec(layout: layout, bitWidth: 2))
    }
    #expect("\(integers)" == "int32 elements cannot be quantized")
  }
}
