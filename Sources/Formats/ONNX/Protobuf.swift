import Storage

/// Walks over the fields of one protobuf message in a file without reading their contents.
///
/// This bounds memory: tensor data stays in the file, and only the small fields are copied
/// out (`ONNXFieldReader`). The encoding is described at
/// <https://protobuf.dev/programming-guides/encoding>.
struct ProtobufFields {
  /// How a field's content is encoded.
  enum Content: Equatable {
    case varint(UInt64)
    /// 4 or 8 bytes in this range of the file.
    case fixed(Range<Int>)
    /// A string, bytes, a message or packed numbers in this range of the file.
    case delimited(Range<Int>)
  }

  struct Field {
    let number: Int
    let content: Content
    /// The range of the field in the file, including its tag.
    let range: Range<Int>

    /// The range of the content, for length-delimited fields.
    var delimitedRange: Range<Int>? {
      if case .delimited(let range) = content { return range }
      return nil
    }
  }

  private let file: InputFile
  private let end: Int
  private var offset: Int

  /// Creates a cursor over a message's fields.
  ///
  /// - Parameter range: the range of the message in the file.
  init(in file: InputFile, range: Range<Int>) {
    self.file = file
    offset = range.lowerBound
    end = range.upperBound
  }

  /// Returns the next field, or `nil` at the end of the message.
  ///
  /// - Throws: `ModelError` with the offset of anything that is not a field.
  mutating func next() throws -> Field? {
    guard offset < end else { return nil }
    let start = offset
    // A tag is at most 5 bytes, a varint at most 10.
    let head = try file.bytes(at: start, count: min(15, end - start), purpose: "a field")
    var reader = ByteReader(head, baseOffset: start)
    let tag = try reader.readVarint(for: "a field's tag")
    guard tag >> 3 > 0, tag >> 3 < 1 << 29 else {
      throw ModelError.malformed("a field has the number \(tag >> 3)", offset: start)
    }
    let content: Content
    switch tag & 7 {
    case 0:
      content = .varint(try reader.readVarint(for: "a number"))
      offset = start + reader.offset
    case 1: content = .fixed(try skip(8, from: start + reader.offset))
    case 5: content = .fixed(try skip(4, from: start + reader.offset))
    case 2:
      let length = try reader.readVarint(for: "a field's length")
      content = .delimited(try skip(length, from: start + reader.offset))
    default:
      throw ModelError.malformed("a field has the wire type \(tag & 7)", offset: start)
    }
    return Field(number: Int(tag >> 3), content: content, range: start..<offset)
  }

  /// Whether the next field is `number`, is length-delimited, and ends past the message.
  func isCut(inside number: Int) -> Bool {
    guard offset < end,
      let head = try? file.bytes(at: offset, count: min(15, end - offset), purpose: "a field")
    else { return false }
    var reader = ByteReader(head)
    guard let tag = try? reader.readVarint(for: "a tag"), tag == UInt64(number) << 3 | 2 else {
      return false
    }
    guard let length = try? reader.readVarint(for: "a length") else { return true }
    return length > end - offset - reader.offset
  }

  private mutating func skip(_ count: UInt64, from start: Int) throws -> Range<Int> {
    guard count <= end - start else {
      throw ModelError(
        .truncated(
          expectedBytes: Int(clamping: count), foundBytes: max(0, end - start), purpose: "a field"),
        offset: start)
    }
    offset = start + Int(count)
    return start..<offset
  }
}

extension ByteReader {
  /// Reads the next base-128 varint.
  mutating func readVarint(for purpose: String) throws -> UInt64 {
    let start = fileOffset
    var value: UInt64 = 0
    for shift in stride(from: 0, to: 70, by: 7) {
      let byte = try readInteger(UInt8.self, for: purpose)
      guard shift < 63 || byte <= 1 else { break }
      value |= UInt64(byte & 0x7F) << UInt64(shift)
      if byte < 0x80 { return value }
    }
    throw ModelError.malformed("\(purpose) is longer than 64 bits", offset: start)
  }
}

/// The bytes of one protobuf message, encoded field by field.
///
/// `ProtobufFields` is its counterpart. Tensor data is not kept here: a message may end with bytes
/// of a given count that are written after it.
struct ProtobufEncoder {
  private(set) var bytes: [UInt8] = []

  mutating func append(_ number: Int, varint value: UInt64) {
    append(varint: UInt64(number) << 3)
    append(varint: value)
  }

  mutating func append(_ number: Int, integer value: Int) {
    append(number, varint: UInt64(bitPattern: Int64(value)))
  }

  mutating func append(_ number: Int, float value: Float) {
    append(varint: UInt64(number) << 3 | 5)
    withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes += $0 }
  }

  mutating func append(_ number: Int, text: String) {
    append(number, delimited: Array(text.utf8))
  }

  mutating func append(_ number: Int, message: ProtobufEncoder) {
    append(number, delimited: message.bytes)
  }

  mutating func append(_ number: Int, delimited content: [UInt8]) {
    appendHead(number, byteCount: content.count)
    bytes += content
  }

  /// Appends the tag and length of a field whose content is written elsewhere.
  mutating func appendHead(_ number: Int, byteCount: Int) {
    append(varint: UInt64(number) << 3 | 2)
    append(varint: UInt64(byteCount))
  }

  /// Appends the fields of `other`.
  mutating func append(_ other: ProtobufEncoder) { bytes += other.bytes }

  private mutating func append(varint value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }
}
