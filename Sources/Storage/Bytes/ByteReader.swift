/// A checked cursor over untrusted bytes: every read is bounds-checked and advances the cursor.
///
/// Multi-byte values are little-endian unless a method says otherwise and need not be aligned.
/// Errors carry the offset; the caller adds the path.
package struct ByteReader: Sendable {
  /// All bytes, including those already read.
  package let bytes: SharedBytes
  /// The position of the cursor, counted from the first byte.
  package private(set) var offset: Int
  /// The offset of `bytes` in their file, so that errors name file offsets.
  private let baseOffset: Int

  /// Creates a cursor at the first byte.
  package init(_ bytes: SharedBytes, baseOffset: Int = 0) {
    self.bytes = bytes
    self.offset = 0
    self.baseOffset = baseOffset
  }

  /// The number of bytes from the cursor to the end.
  package var remaining: Int { bytes.count - offset }
  /// Whether all bytes have been read.
  package var isAtEnd: Bool { remaining == 0 }
  /// The position of the cursor as an offset in the file.
  package var fileOffset: Int { baseOffset + offset }

  /// Moves the cursor to `offset`, counted from the first byte.
  package mutating func seek(to offset: Int) throws {
    guard offset >= 0, offset <= bytes.count else {
      throw ModelError.mismatch(
        expected: "an offset in 0...\(bytes.count)", found: "\(offset)", offset: fileOffset)
    }
    self.offset = offset
  }

  /// Reads the next `count` bytes.
  package mutating func read(_ count: Int, for purpose: String) throws -> SharedBytes {
    guard count >= 0, count <= remaining else {
      throw ModelError(
        .truncated(expectedBytes: count, foundBytes: remaining, purpose: purpose),
        offset: fileOffset)
    }
    defer { offset += count }
    return bytes.slice(offset..<offset + count)
  }

  /// Reads the next little-endian integer.
  @inlinable package mutating func readInteger<Value: FixedWidthInteger & BitwiseCopyable>(
    _ type: Value.Type = Value.self, for purpose: String
  ) throws -> Value {
    let slice = try read(MemoryLayout<Value>.size, for: purpose)
    return slice.withUnsafeBytes { Value(littleEndian: $0.loadUnaligned(as: Value.self)) }
  }

  /// Reads the next little-endian unsigned integer, a count or an offset that must fit in `Int`.
  @inlinable
  package mutating func readCount<Value: UnsignedInteger & FixedWidthInteger & BitwiseCopyable>(
    _ type: Value.Type, for purpose: String
  ) throws -> Int {
    let start = fileOffset
    let value = try readInteger(type, for: purpose)
    guard let count = Int(exactly: value) else {
      throw ModelError.mismatch(
        expected: "\(purpose) below 2^63", found: "\(value)", offset: start)
    }
    return count
  }

  /// Reads the next `count` bytes as UTF-8, which must be valid.
  package mutating func readUTF8(_ count: Int, for purpose: String) throws -> String {
    let start = fileOffset
    let slice = try read(count, for: purpose)
    guard let text = slice.withUnsafeBytes({ String(validating: $0, as: UTF8.self) }) else {
      throw ModelError.malformed("\(purpose) is not valid UTF-8", offset: start)
    }
    return text
  }

  /// Reads the bytes up to the next newline, which is consumed but not returned.
  package mutating func readLine(for purpose: String) throws -> SharedBytes {
    let length = bytes.withUnsafeBytes { buffer in
      buffer[offset...].firstIndex(of: UInt8(ascii: "\n")).map { $0 - offset }
    }
    guard let length else {
      throw ModelError.malformed("\(purpose) has no end of line", offset: fileOffset)
    }
    let line = try read(length, for: purpose)
    offset += 1
    return line
  }
}

extension UnsafeRawBufferPointer {
  /// Returns the little-endian unsigned integer of 1, 2, 4 or 8 bytes at `offset`.
  @inlinable package func loadUnsigned(at offset: Int, byteWidth: Int) -> UInt64 {
    switch byteWidth {
    case 1: UInt64(self[offset])
    case 2: UInt64(UInt16(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt16.self)))
    case 4: UInt64(UInt32(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
    case 8: UInt64(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    default: preconditionFailure("an integer has 1, 2, 4 or 8 bytes")
    }
  }
}

extension UnsafeMutableRawBufferPointer {
  /// Copies `bytes` to `offset`.
  ///
  /// Not inlined because of swiftlang/swift#90477: if `memmove` itself is the last call of a
  /// closure that may throw, the caller sees an error that was never thrown. `make check-calls`
  /// looks for such calls.
  @inline(never) @usableFromInline
  package func copy(_ bytes: UnsafeRawBufferPointer, at offset: Int = 0) {
    UnsafeMutableRawBufferPointer(rebasing: self[offset...]).copyMemory(from: bytes)
  }

  /// Stores the low `byteWidth` (1, 2, 4 or 8) bytes of `value` at `offset`, little-endian.
  @inlinable package func storeUnsigned(_ value: UInt64, at offset: Int, byteWidth: Int) {
    switch byteWidth {
    case 1: self[offset] = UInt8(truncatingIfNeeded: value)
    case 2:
      storeBytes(
        of: UInt16(truncatingIfNeeded: value).littleEndian, toByteOffset: offset, as: UInt16.self)
    case 4:
      storeBytes(
        of: UInt32(truncatingIfNeeded: value).littleEndian, toByteOffset: offset, as: UInt32.self)
    case 8: storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt64.self)
    default: preconditionFailure("an integer has 1, 2, 4 or 8 bytes")
    }
  }
}
