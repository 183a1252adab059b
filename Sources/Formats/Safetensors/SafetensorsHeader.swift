import OrderedCollections
import Storage

/// The index of a safetensors file: its tensors and the locations of their bytes.
struct SafetensorsHeader {
  struct Entry {
    let name: String
    let elementType: ElementType
    let shape: Shape
    /// The range of the bytes, counted from the end of the header.
    let dataOffsets: Range<Int>
  }

  /// The longest header in bytes, for reading and for writing, as in the Rust core.
  static let byteCountLimit = 100_000_000
  static let metadataKey = "__metadata__"

  /// The entries in the order of the data.
  let entries: [Entry]
  let metadata: OrderedDictionary<String, String>
  /// The offset of the first tensor's bytes in the file.
  let dataOffset: Int
}

extension SafetensorsHeader {
  /// Reads a file's header.
  ///
  /// - Throws: `ModelError` for anything that the format's rules do not allow.
  init(reading file: InputFile) throws {
    var prefix = ByteReader(try file.bytes(at: 0, count: 8, purpose: "the header's length"))
    let length = try prefix.readInteger(UInt64.self, for: "the header's length")
    guard let byteCount = Int(exactly: length), byteCount <= Self.byteCountLimit else {
      throw ModelError(
        .limitExceeded(
          what: "a safetensors header in bytes", limit: Self.byteCountLimit, found: "\(length)"),
        offset: 0)
    }
    let bytes = try file.bytes(at: 8, count: byteCount, purpose: "the header")
    guard bytes.withUnsafeBytes({ $0.first }) == UInt8(ascii: "{") else {
      throw ModelError.malformed("the header does not begin with '{'", offset: 8)
    }
    guard case .object(let members) = try JSONDocument.parse(bytes, baseOffset: 8) else {
      throw ModelError.malformed("the header is not a JSON object", offset: 8)
    }
    var entries: [Entry] = []
    var metadata: OrderedDictionary<String, String> = [:]
    entries.reserveCapacity(members.count)
    for (name, value) in members {
      if name == Self.metadataKey {
        metadata = try Self.metadata(value)
      } else {
        entries.append(
          try locatingErrors(tensor: name) { try Entry(name: name, json: value) })
      }
    }
    // Empty tensors share their offset with others; the header's order breaks such ties.
    self.entries = entries.enumerated().sorted { left, right in
      let (first, second) = (left.element.dataOffsets, right.element.dataOffsets)
      return (first.lowerBound, first.upperBound, left.offset)
        < (second.lowerBound, second.upperBound, right.offset)
    }.map(\.element)
    self.metadata = metadata
    dataOffset = 8 + byteCount
    try checkCoverage(of: file.byteCount - dataOffset)
  }

  private static func metadata(_ value: JSONValue) throws -> OrderedDictionary<String, String> {
    // MLX writes null if there is no metadata, and the reference implementation reads it as such.
    if case .null = value { return [:] }
    guard case .object(let members) = value else {
      throw ModelError.malformed("'\(metadataKey)' is not an object")
    }
    return try OrderedDictionary(
      uniqueKeysWithValues: members.map { key, value in
        guard case .string(let text) = value else {
          throw ModelError.malformed("'\(key)' in '\(metadataKey)' is not a string")
        }
        return (key, text)
      })
  }

  /// Checks that every byte after the header belongs to exactly one tensor.
  private func checkCoverage(of byteCount: Int) throws {
    var end = 0
    for entry in entries {
      guard entry.dataOffsets.lowerBound == end else {
        throw ModelError.mismatch(
          expected: "data that begins at offset \(end), where the tensor before it ends",
          found: "\(entry.dataOffsets.lowerBound)", tensor: entry.name)
      }
      end = entry.dataOffsets.upperBound
      guard end <= byteCount else {
        throw ModelError(
          .truncated(
            expectedBytes: entry.dataOffsets.count,
            foundBytes: max(0, byteCount - entry.dataOffsets.lowerBound),
            purpose: "\(entry.elementType) \(entry.shape)"), tensor: entry.name,
          offset: dataOffset + entry.dataOffsets.lowerBound)
      }
    }
    guard end == byteCount else {
      throw ModelError.mismatch(
        expected: "the file to end with its last tensor",
        found: counted(byteCount - end, "more byte"), offset: dataOffset + end)
    }
  }
}

extension SafetensorsHeader.Entry {
  fileprivate init(name: String, json: JSONValue) throws {
    guard case .object(let members) = json else {
      throw ModelError.malformed("a tensor's entry is not an object")
    }
    if let unknown = members.keys.first(where: {
      !["dtype", "shape", "data_offsets"].contains($0)
    }) {
      throw ModelError.malformed("a tensor's entry has the unknown field '\(unknown)'")
    }
    guard case .string(let dtype)? = members["dtype"] else {
      throw ModelError.malformed("a tensor's entry has no 'dtype' text")
    }
    guard let elementType = ElementType(safetensorsName: dtype) else {
      throw ModelError.unsupported("the element type '\(dtype)' is unknown")
    }
    let dimensions = try Self.counts(members["shape"], field: "shape")
    guard let shape = Shape(dimensions) else {
      throw ModelError.malformed("the shape \(dimensions) has more than 2^63 elements")
    }
    let offsets = try Self.counts(members["data_offsets"], field: "data_offsets")
    guard offsets.count == 2, offsets[0] <= offsets[1] else {
      throw ModelError.mismatch(
        expected: "a begin and an end in 'data_offsets'", found: "\(offsets)")
    }
    guard let byteCount = elementType.byteCount(forElements: shape.elementCount) else {
      throw ModelError.mismatch(
        expected: "elements that fill whole bytes below 2^63", found: "\(elementType) \(shape)")
    }
    guard offsets[1] - offsets[0] == byteCount else {
      throw ModelError.mismatch(
        expected: "\(counted(byteCount, "byte")) for \(elementType) \(shape)",
        found: "\(offsets[1] - offsets[0])")
    }
    self.init(
      name: name, elementType: elementType, shape: shape, dataOffsets: offsets[0]..<offsets[1])
  }

  private static func counts(_ json: JSONValue?, field: String) throws -> [Int] {
    guard case .array(let items)? = json else {
      throw ModelError.malformed("a tensor's entry has no '\(field)' array")
    }
    return try items.map { item in
      guard case .integer(let value) = item, value >= 0 else {
        throw ModelError.malformed(
          "'\(field)' has an item that is not a count: \(item.serialized())")
      }
      return value
    }
  }
}

extension SafetensorsHeader {
  /// Returns the Rust core's layout: the element types with the widest alignment first, then by
  /// name.
  ///
  /// - Throws: `ModelError` that names the first tensor that safetensors cannot hold.
  static func layout(of tensors: OrderedDictionary<String, Tensor>) throws -> [Entry] {
    let keyed = try tensors.map { name, tensor in
      guard name != metadataKey else {
        throw ModelError.unsupported("the name is reserved in safetensors", tensor: name)
      }
      guard let rank = tensor.elementType.safetensorsRank else {
        throw ModelError.unsupported(
          "safetensors has no element type for \(tensor.elementType)", tensor: name)
      }
      return (rank: rank, name: name, tensor: tensor)
    }
    let ordered = keyed.sorted { left, right in
      left.rank == right.rank
        ? left.name.utf8.lexicographicallyPrecedes(right.name.utf8) : left.rank > right.rank
    }
    var end = 0
    return try ordered.map { _, name, tensor in
      let start = end
      let (next, overflow) = end.addingReportingOverflow(tensor.byteCount)
      guard !overflow else {
        throw ModelError.unsupported("the tensors have more than 2^63 bytes", tensor: name)
      }
      end = next
      return Entry(
        name: name, elementType: tensor.elementType, shape: tensor.shape, dataOffsets: start..<end)
    }
  }

  /// Returns the length and the JSON text, padded with spaces to a multiple of 8.
  static func encode(
    _ entries: [Entry], metadata: OrderedDictionary<String, String>
  ) throws -> [UInt8] {
    var members: OrderedDictionary<String, JSONValue> = [:]
    if !metadata.isEmpty {
      members[metadataKey] = .object(metadata.mapValues(JSONValue.string))
    }
    for entry in entries {
      members[entry.name] = .object([
        "dtype": .string(entry.elementType.safetensorsName ?? ""),
        "shape": .array(entry.shape.dimensions.map(JSONValue.integer)),
        "data_offsets": .array([
          .integer(entry.dataOffsets.lowerBound), .integer(entry.dataOffsets.upperBound),
        ]),
      ])
    }
    let header = JSONValue.object(members)
    try header.checkKeys()
    var text = Array(header.serialized().utf8)
    text.append(contentsOf: repeatElement(UInt8(ascii: " "), count: -text.count & 7))
    guard text.count <= byteCountLimit else {
      throw ModelError(
        .limitExceeded(
          what: "a safetensors header in bytes", limit: byteCountLimit,
          found: "\(text.count)"))
    }
    return withUnsafeBytes(of: UInt64(text.count).littleEndian, Array.init) + text
  }
}

extension ElementType {
  /// The element types of safetensors in the order of the Rust core's `Dtype`, which is the order
  /// of alignment by which the writer sorts.
  private static let safetensorsTypes: [(name: String, type: ElementType)] = [
    ("BOOL", .bool), ("F4", .float4E2M1), ("F6_E2M3", .float6E2M3), ("F6_E3M2", .float6E3M2),
    ("U8", .uint8), ("I8", .int8), ("F8_E5M2", .float8E5M2), ("F8_E4M3", .float8E4M3FN),
    ("F8_E8M0", .float8E8M0FNU), ("F8_E4M3FNUZ", .float8E4M3FNUZ),
    ("F8_E5M2FNUZ", .float8E5M2FNUZ), ("I16", .int16), ("U16", .uint16), ("F16", .float16),
    ("BF16", .bfloat16), ("I32", .int32), ("U32", .uint32), ("F32", .float32),
    ("C64", .complex64), ("F64", .float64), ("I64", .int64), ("U64", .uint64),
  ]

  /// Creates an element type from its safetensors name.
  ///
  /// - Parameter safetensorsName: a value of a header's `dtype`, such as `BF16`.
  init?(safetensorsName: String) {
    guard let entry = Self.safetensorsTypes.first(where: { $0.name == safetensorsName }) else {
      return nil
    }
    self = entry.type
  }

  /// The name in a header's `dtype`; `nil` for types that safetensors lacks.
  var safetensorsName: String? { safetensorsRank.map { Self.safetensorsTypes[$0].name } }

  /// The position in the Rust core's order.
  var safetensorsRank: Int? { Self.safetensorsTypes.firstIndex { $0.type == self } }
}
