/// The bytes of one protobuf message, field by field.
///
/// `ProtobufFields` is its counterpart. Tensors' data are not kept here: a message may end with
/// bytes that are written behind it, whose count is given.
struct ProtobufEncoder {
  private(set) var bytes: [UInt8] = []

  mutating func append(_ number: Int, varint value: UInt64) {
    append(varint: UInt64(number) << 3)
    append(varint: value)
  }

  mutating func append(_ number: Int, integer value: Int) {
    append(number, varint: UInt64(bitPattern: Int64(value)))
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

  /// The tag and length of a field whose content is written by others.
  mutating func appendHead(_ number: Int, byteCount: Int) {
    append(varint: UInt64(number) << 3 | 2)
    append(varint: UInt64(byteCount))
  }

  /// The fields of `other`.
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
