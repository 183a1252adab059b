/// Collects a tensor's elements from a typed field of `TensorProto`, packed or one by one.
struct ONNXTypedElements {
  private let field: ONNXTypedField
  private let elementType: ElementType
  private let byteCount: Int
  private var bytes: [UInt8] = []

  /// - Parameter byteCount: what the tensor needs; more is an error before it is collected.
  init(field: ONNXTypedField, elementType: ElementType, byteCount: Int) {
    self.field = field
    self.elementType = elementType
    self.byteCount = byteCount
  }

  var isEmpty: Bool { bytes.isEmpty }

  /// Adds the elements of one occurrence of the field.
  ///
  /// - Throws: `FormatError` for another encoding, a value that the type does not have, or more
  ///   elements than the tensor has.
  mutating func append(_ occurrence: ProtobufFields.Field, in file: InputFile) throws {
    switch (occurrence.content, field.fixedWidth) {
    case (.varint(let value), nil):
      try append(value, offset: occurrence.range.lowerBound)
    case (.fixed(let range), let width?) where range.count == width:
      try append(
        try file.bytes(at: range.lowerBound, count: width, purpose: field.name).array, range)
    case (.delimited(let range), let width?) where range.count.isMultiple(of: width):
      guard range.count <= byteCount - bytes.count else { throw tooMany(range.lowerBound) }
      try append(
        try file.bytes(at: range.lowerBound, count: range.count, purpose: field.name).array, range)
    case (.delimited(let range), nil):
      var reader = ByteReader(
        try file.bytes(at: range.lowerBound, count: range.count, purpose: field.name),
        baseOffset: range.lowerBound)
      while !reader.isAtEnd {
        let offset = reader.fileOffset
        try append(try reader.readVarint(for: field.name), offset: offset)
      }
    default:
      throw FormatError.malformed(
        "\(field.name) is not encoded as such", offset: occurrence.range.lowerBound)
    }
  }

  /// - Throws: `FormatError` when there are too few elements.
  func finish(_ shape: Shape) throws -> SharedBytes {
    guard bytes.count == byteCount else {
      throw FormatError(
        .truncated(
          expectedBytes: byteCount, foundBytes: bytes.count,
          purpose: "\(elementType) \(shape) in \(field.name)"))
    }
    return SharedBytes(bytes)
  }

  private mutating func append(_ more: [UInt8], _ range: Range<Int>) throws {
    guard more.count <= byteCount - bytes.count else { throw tooMany(range.lowerBound) }
    bytes += more
  }

  private mutating func append(_ value: UInt64, offset: Int) throws {
    // An entry of int32_data holds two elements of 4 bits.
    let width = max(1, elementType.bitWidth / 8)
    guard width <= byteCount - bytes.count else { throw tooMany(offset) }
    guard isInRange(value) else {
      throw FormatError.malformed(
        "\(field.name) holds \(Int64(bitPattern: value)), which is no \(elementType)",
        offset: offset)
    }
    var value = value
    for _ in 0..<width {
      bytes.append(UInt8(truncatingIfNeeded: value))
      value >>= 8
    }
  }

  /// Signed numbers are sign-extended to 64 bits; reals of 16 and 8 bits are unsigned codes.
  private func isInRange(_ value: UInt64) -> Bool {
    let signed = Int64(bitPattern: value)
    switch elementType {
    case .bool: return value <= 1
    case .int8: return Int8(exactly: signed) != nil
    case .int16: return Int16(exactly: signed) != nil
    case .int32: return Int32(exactly: signed) != nil
    case .int64, .uint64: return true
    case .uint32: return UInt32(exactly: value) != nil
    case .uint16, .float16, .bfloat16: return UInt16(exactly: value) != nil
    default: return UInt8(exactly: value) != nil
    }
  }

  private func tooMany(_ offset: Int) -> FormatError {
    FormatError.malformed("\(field.name) has more elements than the shape", offset: offset)
  }
}
