import Storage
import TestSupport
import Testing

@testable import Formats

/// Parameters of groups as codes of six bits under a unit per row.
@Suite struct AffineParametersTests {
  private static func spec(_ bitWidth: Int = 2) throws -> AffineSpec {
    AffineSpec(
      layout: try AffineLayout(rows: 2, columns: 5, granularity: .group(2)), bitWidth: bitWidth,
      parameterType: .scaled6)
  }

  /// Two rows of three groups: units 0.5 and 0; lower codes 1, −32, 31, then 0; scale codes 63, 1, 2.
  private static let units: [UInt8] = [0x00, 0x3F, 0, 0]
  private static func record(
    units: [UInt8] = units, lower: [UInt8] = [1, 32, 31, 0, 0, 0],
    scale: [UInt8] = [63, 1, 2, 0, 0, 0]
  ) -> SharedBytes {
    SharedBytes(joining: [
      SharedBytes(units), BitStream.pack(lower, bitWidth: 6), BitStream.pack(scale, bitWidth: 6),
    ])
  }

  @Test func bytesMatchDocumentedLayout() throws {
    let spec = try Self.spec()
    let bytes = Self.record()
    #expect(spec.parameterByteCount == 2 * 2 + 2 * 5)
    #expect(bytes.count == spec.parameterByteCount)
    let parameters = try AffineParameters(parsing: bytes, spec: spec)
    #expect(parameters.lower == [2, -64, 62, 0, 0, 0])
    #expect(parameters.scale == [31.5, 0.5, 1, 0, 0, 0])
    #expect(parameters.units == [0.5, 0])
    #expect(parameters.bytes(spec).elementsEqual(bytes))
  }

  @Test func impossibleCodesAreRefused() throws {
    let spec = try Self.spec()
    func parse(_ record: SharedBytes) throws {
      _ = try AffineParameters(parsing: record, spec: spec)
    }
    #expect(
      throws: ModelError.mismatch(expected: "a finite unit of at least 0 in row 1", found: "-0.0")
    ) { try parse(Self.record(units: [0x00, 0x3F, 0, 0x80])) }
    #expect(
      throws: ModelError.mismatch(expected: "a finite unit of at least 0 in row 0", found: "inf")
    ) { try parse(Self.record(units: [0x80, 0x7F, 0, 0])) }
    #expect(
      throws: ModelError.malformed("row 1 has a unit of 0, and a parameter that is not 0")
    ) { try parse(Self.record(scale: [63, 1, 2, 0, 0, 1])) }
    let tail = SharedBytes(joining: [
      Self.record().slice(0..<13), SharedBytes([0xF0 as UInt8]),
    ])
    #expect(
      throws: ModelError.malformed("the bits after the last code of a parameter are not zero")
    ) { try parse(tail) }
  }

  @Test func onlyGroupsHaveCodes() throws {
    let spec = AffineSpec(
      layout: try AffineLayout(rows: 2, columns: 5, granularity: .channel), bitWidth: 2,
      parameterType: .scaled6)
    #expect(
      throws: ModelError.mismatch(
        expected: "groups, which parameters of type 'scaled6' are for", found: "channel")
    ) {
      _ = try QuantizedTensor.encode(
        values: [Float](repeating: 1, count: 10), spec: spec, lower: [0, 0], scale: [1, 1],
        elementType: .float32, shape: [2, 5])
    }
  }

  @Test(arguments: 1...8)
  func roundingStaysWithinStepsOfUnit(bitWidth: Int) throws {
    let spec = AffineSpec(
      layout: try AffineLayout(rows: 40, columns: 96, granularity: .group(32)),
      bitWidth: bitWidth, parameterType: .scaled6)
    var random = SplitMix(seed: UInt64(bitWidth))
    let scale = (0..<120).map { _ in abs(random.nextNormal()) }
    let lower = (0..<120).map { _ in random.nextNormal() * Float(1 << bitWidth) }
    let rounded = try AffineParameters(rounding: lower, scale, to: spec)
    let levels = Float(1 << bitWidth)
    for index in 0..<120 {
      let unit = rounded.units[index / 3]
      #expect(abs(rounded.scale[index] - scale[index]) <= max(unit / 2, unit - scale[index]))
      #expect(abs(rounded.lower[index] - lower[index]) <= unit * levels / 2)
      #expect(rounded.scale[index] > 0)
    }
    let again = try AffineParameters(parsing: rounded.bytes(spec), spec: spec)
    #expect(again == rounded)
    #expect(rounded.units.allSatisfy { $0.bitPattern & 0xFFFF == 0 })
  }

  /// A unit has the range of Float32, so small weights keep their precision.
  @Test func tinyAndHugeWeightsAreQuantizedAlike() throws {
    let spec = AffineSpec(
      layout: try AffineLayout(rows: 1, columns: 64, granularity: .group(32)), bitWidth: 3,
      parameterType: .scaled6)
    var random = SplitMix(seed: 5)
    let values = (0..<64).map { _ in random.nextNormal() }
    func codes(_ factor: Float) throws -> [UInt8] {
      let scaled = values.map { $0 * factor }
      let encoder = try TensorEncoder(
        SharedBytes(elementsOf: scaled), elementType: .float32, shape: [1, 64], spec: spec)
      return try encoder.encode(encoder.groupParameters()).tensor.unpackedCodes()
    }
    let plain = try codes(1)
    #expect(try codes(0x1p-100) == plain)
    #expect(try codes(0x1p100) == plain)
  }
}
