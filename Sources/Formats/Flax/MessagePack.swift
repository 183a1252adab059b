import Storage

/// Walks over the values of a MessagePack file without reading the contents of large ones.
///
/// The encoding is described at <https://github.com/msgpack/msgpack/blob/master/spec.md>.
struct MessagePackReader {
  /// A value, or the beginning of an array or map, whose members follow.
  enum Value: Equatable {
    case null
    case boolean(Bool)
    case integer(Int)
    /// An integer from 2^63 on.
    case largeInteger(UInt64)
    case real(Double)
    case text(String)
    /// Bytes in this range of the file.
    case binary(Range<Int>)
    case array(count: Int)
    case map(count: Int)
    /// Bytes in this range of the file, whose meaning the program defines.
    case custom(type: Int8, Range<Int>)
  }

  /// The longest text.
  static let textByteCountLimit = 1 << 24

  private let file: InputFile
  private let end: Int
  private(set) var offset: Int

  /// - Parameter range: the range of the values in the file.
  init(in file: InputFile, range: Range<Int>) {
    self.file = file
    offset = range.lowerBound
    end = range.upperBound
  }

  var isAtEnd: Bool { offset == end }

  /// Reads the next value.
  ///
  /// - Throws: `ModelError` with the offset of the error.
  mutating func next() throws -> Value {
    let start = offset
    let tag = try head(UInt8.self)
    switch tag {
    case 0x00...0x7F: return .integer(Int(tag))
    case 0x80...0x8F: return .map(count: Int(tag & 15))
    case 0x90...0x9F: return .array(count: Int(tag & 15))
    case 0xA0...0xBF: return .text(try text(Int(tag & 31)))
    case 0xC0: return .null
    case 0xC2, 0xC3: return .boolean(tag == 0xC3)
    case 0xC4: return .binary(try content(Int(head(UInt8.self))))
    case 0xC5: return .binary(try content(Int(head(UInt16.self))))
    case 0xC6: return .binary(try content(Int(head(UInt32.self))))
    case 0xC7: return try custom(Int(head(UInt8.self)))
    case 0xC8: return try custom(Int(head(UInt16.self)))
    case 0xC9: return try custom(Int(head(UInt32.self)))
    case 0xCA: return .real(Double(Float(bitPattern: try head(UInt32.self))))
    case 0xCB: return .real(Double(bitPattern: try head(UInt64.self)))
    case 0xCC: return .integer(Int(try head(UInt8.self)))
    case 0xCD: return .integer(Int(try head(UInt16.self)))
    case 0xCE: return .integer(Int(try head(UInt32.self)))
    case 0xCF:
      let value = try head(UInt64.self)
      return Int(exactly: value).map { .integer($0) } ?? .largeInteger(value)
    case 0xD0: return .integer(Int(Int8(bitPattern: try head(UInt8.self))))
    case 0xD1: return .integer(Int(Int16(bitPattern: try head(UInt16.self))))
    case 0xD2: return .integer(Int(Int32(bitPattern: try head(UInt32.self))))
    case 0xD3: return .integer(Int(Int64(bitPattern: try head(UInt64.self))))
    case 0xD4...0xD8: return try custom(1 << Int(tag - 0xD4))
    case 0xD9: return .text(try text(Int(head(UInt8.self))))
    case 0xDA: return .text(try text(Int(head(UInt16.self))))
    case 0xDB: return .text(try text(Int(head(UInt32.self))))
    case 0xDC: return .array(count: try count(Int(head(UInt16.self)), 1))
    case 0xDD: return .array(count: try count(Int(head(UInt32.self)), 1))
    case 0xDE: return .map(count: try count(Int(head(UInt16.self)), 2))
    case 0xDF: return .map(count: try count(Int(head(UInt32.self)), 2))
    case 0xE0...0xFF: return .integer(Int(Int8(bitPattern: tag)))
    default:
      throw ModelError.malformed("\(tag) begins no MessagePack value", offset: start)
    }
  }

  /// Reads a big-endian integer.
  private mutating func head<Number: FixedWidthInteger & BitwiseCopyable>(
    _ type: Number.Type
  ) throws -> Number {
    let range = try content(MemoryLayout<Number>.size)
    let bytes = try file.bytes(at: range.lowerBound, count: range.count, purpose: "a value")
    return bytes.withUnsafeBytes { Number(bigEndian: $0.loadUnaligned(as: Number.self)) }
  }

  private mutating func content(_ byteCount: Int) throws -> Range<Int> {
    guard byteCount <= end - offset else {
      throw ModelError(
        .truncated(
          expectedBytes: byteCount, foundBytes: end - offset, purpose: "a MessagePack value"),
        offset: offset)
    }
    defer { offset += byteCount }
    return offset..<offset + byteCount
  }

  private mutating func custom(_ byteCount: Int) throws -> Value {
    let type = Int8(bitPattern: try head(UInt8.self))
    return .custom(type: type, try content(byteCount))
  }

  private mutating func text(_ byteCount: Int) throws -> String {
    guard byteCount <= Self.textByteCountLimit else {
      throw ModelError(
        .limitExceeded(
          what: "a text in bytes", limit: Self.textByteCountLimit, found: "\(byteCount)"),
        offset: offset)
    }
    let range = try content(byteCount)
    let bytes = try file.bytes(at: range.lowerBound, count: byteCount, purpose: "a text")
    guard let text = String(validating: bytes.array, as: UTF8.self) else {
      throw ModelError.malformed("a text is not valid UTF-8", offset: range.lowerBound)
    }
    return text
  }

  /// Checks that the members of an array or map, of at least `leastByteCount` bytes each, can be
  /// there.
  private func count(_ count: Int, _ leastByteCount: Int) throws -> Int {
    guard count <= (end - offset) / leastByteCount else {
      throw ModelError(
        .truncated(
          expectedBytes: count * leastByteCount, foundBytes: end - offset,
          purpose: counted(count, "member")), offset: offset)
    }
    return count
  }
}
