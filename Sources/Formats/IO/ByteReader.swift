/// A checked cursor over untrusted bytes: every read is bounds-checked and advances the cursor.
///
/// Multi-byte values are little-endian unless a method says otherwise and need not be aligned.
/// Errors carry the offset; the caller adds the path.
struct ByteReader: Sendable {
  /// All bytes, those that were read included.
  let bytes: SharedBytes
  /// The cursor, counted from the first byte.
  private(set) var offset: Int
  /// Where `bytes` begin in their file, so that errors name file offsets.
  private let baseOffset: Int

  /// A cursor at the first byte.
  init(_ bytes: SharedBytes, baseOffset: Int = 0) {
    self.bytes = bytes
    self.offset = 0
    self.baseOffset = baseOffset
  }

  /// Bytes from the cursor to the end.
  var remaining: Int { bytes.count - offset }
  /// Whether all bytes were read.
  var isAtEnd: Bool { remaining == 0 }
  /// The cursor as an offset in the file.
  var fileOffset: Int { baseOffset + offset }

  /// Moves the cursor to `offset`, counted from the first byte.
  mutating func seek(to offset: Int) throws {
    guard offset >= 0, offset <= bytes.count else {
      throw FormatError.mismatch(
        expected: "an offset in 0...\(bytes.count)", found: "\(offset)", offset: fileOffset)
    }
    self.offset = offset
  }

  /// The next `count` bytes.
  mutating func read(_ count: Int, for purpose: String) throws -> SharedBytes {
    guard count >= 0, count <= remaining else {
      throw FormatError(
        .truncated(expectedBytes: count, foundBytes: remaining, purpose: purpose),
        offset: fileOffset)
    }
    defer { offset += count }
    return bytes.slice(offset..<offset + count)
  }

  /// The next little-endian integer.
  mutating func readInteger<Value: FixedWidthInteger & BitwiseCopyable>(
    _ type: Value.Type = Value.self, for purpose: String
  ) throws -> Value {
    let slice = try read(MemoryLayout<Value>.size, for: purpose)
    return slice.withUnsafeBytes { Value(littleEndian: $0.loadUnaligned(as: Value.self)) }
  }

  /// The next little-endian unsigned integer, which must be a count or an offset that fits `Int`.
  mutating func readCount<Value: UnsignedInteger & FixedWidthInteger & BitwiseCopyable>(
    _ type: Value.Type, for purpose: String
  ) throws -> Int {
    let start = fileOffset
    let value = try readInteger(type, for: purpose)
    guard let count = Int(exactly: value) else {
      throw FormatError.mismatch(
        expected: "\(purpose) below 2^63", found: "\(value)", offset: start)
    }
    return count
  }

  /// The next `count` bytes as UTF-8, refused when invalid.
  mutating func readUTF8(_ count: Int, for purpose: String) throws -> String {
    let start = fileOffset
    let slice = try read(count, for: purpose)
    guard let text = slice.withUnsafeBytes({ String(validating: $0, as: UTF8.self) }) else {
      throw FormatError.malformed("\(purpose) is not valid UTF-8", offset: start)
    }
    return text
  }

  /// The bytes up to the next newline, which is consumed but not returned.
  mutating func readLine(for purpose: String) throws -> SharedBytes {
    let length = bytes.withUnsafeBytes { buffer in
      buffer[offset...].firstIndex(of: UInt8(ascii: "\n")).map { $0 - offset }
    }
    guard let length else {
      throw FormatError.malformed("\(purpose) has no end of line", offset: fileOffset)
    }
    let line = try read(length, for: purpose)
    offset += 1
    return line
  }
}
