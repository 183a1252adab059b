import OrderedCollections

/// The key-value pairs of a GGUF file: single values, and arrays as JSON texts.
struct GGUFMetadata: Sendable {
  static let pairCountLimit = 100_000
  static let keyByteCountLimit = 65_535
  /// The most elements of one array; the largest vocabularies have a million.
  static let arrayCountLimit = 1 << 22
  static let arrayDepthLimit = 4

  private(set) var values: OrderedDictionary<String, ArchiveValue> = [:]
  /// Each array as the text of a JSON array, its elements in the form of `ArchiveValue.json`.
  private(set) var arrays: OrderedDictionary<String, String> = [:]

  /// What tensors' offsets are multiples of.
  private(set) var alignment = 32

  private enum ValueType: UInt32 {
    case uint8, int8, uint16, int16, uint32, int32, float32, bool, string, array, uint64, int64
    case float64

    /// The fewest bytes of a value in the file.
    var leastByteCount: Int {
      switch self {
      case .uint8, .int8, .bool: 1
      case .uint16, .int16: 2
      case .uint32, .int32, .float32: 4
      case .string, .uint64, .int64, .float64: 8
      case .array: 12
      }
    }
  }

  /// - Throws: `FormatError` with the offset of what is wrong.
  init(parsing reader: inout ByteReader, pairCount: Int) throws {
    for _ in 0..<pairCount {
      let start = reader.fileOffset
      let key = try reader.readGGUFString(limit: Self.keyByteCountLimit, for: "a metadata key")
      guard values[key] == nil, arrays[key] == nil else {
        throw FormatError.malformed("the metadata key '\(key)' occurs twice", offset: start)
      }
      let type = try Self.readType(&reader)
      if type == .array {
        arrays[key] = try Self.readArray(&reader, depth: 1).serialized()
      } else {
        values[key] = try Self.readValue(type, &reader)
      }
      if key == "general.alignment" { try setAlignment(values[key], offset: start) }
    }
  }

  private mutating func setAlignment(_ value: ArchiveValue?, offset: Int) throws {
    guard case .integer(let alignment)? = value, (1...1 << 30).contains(alignment),
      alignment.nonzeroBitCount == 1
    else {
      throw FormatError.mismatch(
        expected: "'general.alignment' to be a power of two up to 2^30",
        found: value?.description ?? "an array", offset: offset)
    }
    self.alignment = alignment
  }

  private static func readType(_ reader: inout ByteReader) throws -> ValueType {
    let start = reader.fileOffset
    let number = try reader.readInteger(UInt32.self, for: "a metadata type")
    guard let type = ValueType(rawValue: number) else {
      throw FormatError.mismatch(
        expected: "a metadata type of 0 to 12", found: "\(number)", offset: start)
    }
    return type
  }

  private static func readValue(_ type: ValueType, _ reader: inout ByteReader) throws
    -> ArchiveValue
  {
    let purpose = "a metadata value"
    func integer<Value: FixedWidthInteger & BitwiseCopyable>(_ type: Value.Type) throws
      -> ArchiveValue
    {
      let value = try reader.readInteger(type, for: purpose)
      return Int(exactly: value).map { .integer($0) } ?? .largeInteger("\(value)")
    }
    switch type {
    case .uint8: return try integer(UInt8.self)
    case .int8: return try integer(Int8.self)
    case .uint16: return try integer(UInt16.self)
    case .int16: return try integer(Int16.self)
    case .uint32: return try integer(UInt32.self)
    case .int32: return try integer(Int32.self)
    case .uint64: return try integer(UInt64.self)
    case .int64: return try integer(Int64.self)
    case .float32:
      let bits = try reader.readInteger(UInt32.self, for: purpose)
      return .real(Double(Float(bitPattern: bits)))
    case .float64:
      return .real(Double(bitPattern: try reader.readInteger(UInt64.self, for: purpose)))
    case .bool:
      let start = reader.fileOffset
      let byte = try reader.readInteger(UInt8.self, for: purpose)
      guard byte <= 1 else {
        throw FormatError.mismatch(
          expected: "a truth value of 0 or 1", found: "\(byte)", offset: start)
      }
      return .boolean(byte == 1)
    case .string: return .text(try reader.readGGUFString(limit: .max, for: purpose))
    case .array: preconditionFailure("arrays are read by readArray")
    }
  }

  private static func readArray(_ reader: inout ByteReader, depth: Int) throws -> JSONValue {
    let start = reader.fileOffset
    guard depth <= arrayDepthLimit else {
      throw FormatError(
        .limitExceeded(
          what: "the nesting of metadata arrays", limit: arrayDepthLimit, found: "\(depth)"),
        offset: start)
    }
    let type = try readType(&reader)
    let count = try reader.readCount(UInt64.self, for: "an array's length")
    guard count <= arrayCountLimit else {
      throw FormatError(
        .limitExceeded(
          what: "the elements of a metadata array", limit: arrayCountLimit, found: "\(count)"),
        offset: start)
    }
    guard count <= reader.remaining / type.leastByteCount else {
      throw FormatError(
        .truncated(
          expectedBytes: count * type.leastByteCount, foundBytes: reader.remaining,
          purpose: "a metadata array of \(counted(count, "element"))"), offset: reader.fileOffset)
    }
    return .array(
      try (0..<count).map { _ in
        type == .array
          ? try readArray(&reader, depth: depth + 1) : try readValue(type, &reader).json
      })
  }
}

extension ByteReader {
  /// A length of 8 bytes, then so many bytes of UTF-8.
  mutating func readGGUFString(limit: Int, for purpose: String) throws -> String {
    let start = fileOffset
    let count = try readCount(UInt64.self, for: "the length of \(purpose)")
    guard count <= limit else {
      throw FormatError(
        .limitExceeded(what: "\(purpose) in bytes", limit: limit, found: "\(count)"),
        offset: start)
    }
    return try readUTF8(count, for: purpose)
  }
}
