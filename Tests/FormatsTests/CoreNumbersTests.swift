import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

@Suite struct CoreNumbersTests {
  /// Every code of every type of at most 8 bits, compared with PyTorch and the OCP tables.
  @Test(arguments: [
    ElementType.float8E4M3FN, .float8E4M3FNUZ, .float8E5M2, .float8E5M2FNUZ, .float8E8M0FNU,
    .float4E2M1, .float6E2M3, .float6E3M2,
  ])
  func decodesEveryCode(_ type: ElementType) throws {
    let data = try Data(contentsOf: URL(filePath: PackageFolder.fixture("narrow_floats.json")))
    guard case .object(let tables) = try JSONDocument.parse(SharedBytes(data)),
      case .array(let texts)? = tables[type.rawValue]
    else {
      Issue.record("no table for \(type)")
      return
    }
    let expected = texts.map { text -> Double in
      guard case .string(let digits) = text else { return .nan }
      return Double(digits) ?? .nan
    }
    #expect(expected.count == 1 << type.bitWidth)
    let values = try Tensor(
      elementType: type, shape: Shape([expected.count]) ?? .scalar,
      bytes: SharedBytes(Self.packed(0..<expected.count, bitWidth: type.bitWidth))
    ).doubleValues()
    for (code, (value, expected)) in zip(values, expected).enumerated() {
      #expect(
        value.bitPattern == expected.bitPattern || value.isNaN && expected.isNaN,
        "code \(code): \(value), expected \(expected)")
    }
  }

  /// Returns the codes as a bit stream, low bits first.
  private static func packed(_ codes: Range<Int>, bitWidth: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: codes.count * bitWidth / 8)
    for (index, code) in codes.enumerated() {
      for bit in 0..<bitWidth where code >> bit & 1 == 1 {
        bytes[(index * bitWidth + bit) / 8] |= 1 << UInt8((index * bitWidth + bit) % 8)
      }
    }
    return bytes
  }

  @Test func convertsEveryWideType() throws {
    func values(_ type: ElementType, _ bytes: SharedBytes, count: Int) throws -> [Double] {
      try Tensor(elementType: type, shape: Shape([count]) ?? .scalar, bytes: bytes).doubleValues()
    }
    #expect(try values(.bool, SharedBytes([0, 1, 2]), count: 3) == [0, 1, 1])
    #expect(try values(.uint8, SharedBytes([0, 255]), count: 2) == [0, 255])
    #expect(try values(.int8, SharedBytes([0x80, 0x7F]), count: 2) == [-128, 127])
    #expect(
      try values(.uint16, SharedBytes(elementsOf: [UInt16.max]), count: 1) == [65_535])
    #expect(try values(.int16, SharedBytes(elementsOf: [Int16.min]), count: 1) == [-32_768])
    #expect(
      try values(.uint32, SharedBytes(elementsOf: [UInt32.max]), count: 1) == [4_294_967_295])
    #expect(
      try values(.int32, SharedBytes(elementsOf: [Int32.min]), count: 1) == [-2_147_483_648])
    #expect(
      try values(.uint64, SharedBytes(elementsOf: [UInt64.max]), count: 1)
        == [18_446_744_073_709_551_616])
    #expect(
      try values(.int64, SharedBytes(elementsOf: [Int64.min]), count: 1)
        == [-9_223_372_036_854_775_808])
    #expect(
      try values(.float16, SharedBytes(elementsOf: [0x3C01, 0x0001, 0xFC00] as [UInt16]), count: 3)
        == [1.0009765625, 0x1p-24, -.infinity])
    #expect(
      try values(.bfloat16, SharedBytes(elementsOf: [0x3F81, 0x0001] as [UInt16]), count: 2)
        == [1.0078125, 0x1p-133])
    #expect(
      try values(.float32, SharedBytes(elementsOf: [Float.leastNonzeroMagnitude]), count: 1)
        == [0x1p-149])
    #expect(
      try values(.float64, SharedBytes(elementsOf: [Double.greatestFiniteMagnitude]), count: 1)
        == [.greatestFiniteMagnitude])
  }

  /// Unaligned bytes occur in safetensors files.
  @Test func readsUnalignedBytes() throws {
    let bytes = SharedBytes([9] + withUnsafeBytes(of: Float(1.5)) { Array($0) })
    let tensor = try Tensor(elementType: .float32, shape: [], bytes: bytes.slice(1..<5))
    #expect(try tensor.floatValues() == [1.5])
  }

  @Test(arguments: [
    ElementType.complex32, .complex64, .complex128, .bits8, .bits16, .bits1x8, .bits2x4, .bits4x2,
  ])
  func refusesElementsThatAreNotRealNumbers(_ type: ElementType) throws {
    let tensor = try Tensor(elementType: type, shape: [0], bytes: SharedBytes())
    #expect(throws: ModelError.unsupported("\(type) elements are not real numbers")) {
      try tensor.doubleValues()
    }
  }
}
