import OrderedCollections

/// The index of a safetensors file: which tensors there are and where their bytes lie.
struct SafetensorsHeader {
  struct Entry {
    let name: String
    let elementType: ElementType
    let shape: Shape
    /// Counted from the end of the header.
    let dataOffsets: Range<Int>
  }

  /// The longest header in bytes, on reading and on writing, as in the Rust core.
  static let byteCountLimit = 100_000_000
  static let metadataKey = "__metadata__"

  /// In the order of the data.
  let entries: [Entry]
  let metadata: OrderedDictionary<String, String>
  /// Where the first tensor's bytes begin in the file.
  let dataOffset: Int
}

extension SafetensorsHeader {
  /// - Throws: `FormatError` for anything that the format's rules do not allow.
  init(reading file: InputFile) throws {
    var prefix = ByteReader(try file.bytes(at: 0, count: 8, purpose: "the header's length"))
    let length = try prefix.readInteger(UInt64.self, for: "the header's length")
    guard let byteCount = Int(exactly: length), byteCount <= Self.byteCountLimit else {
      throw FormatError(
        .limitExceeded(
          what: "a safetensors header in bytes", limit: Self.byteCountLimit, found: "\(length)"),
        offset: 0)
    }
    let bytes = try file.bytes(at: 8, count: byteCount, purpose: "the header")
    guard bytes.withUnsafeBytes({ $0.first }) == UInt8(ascii: "{") else {
      throw FormatError.malformed("the header does not begin with '{'", offset: 8)
    }
    guard case .object(let members) = try JSONDocument.parse(bytes, baseOffset: 8) else {
      throw FormatError.malformed("the header is not a JSON object", offset: 8)
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
    // Empty tensors begin where others do: the header's order decides between equal offsets.
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
    // MLX writes null for no metadata, and so does the reference read it.
    if case .null = value { return [:] }
    guard case .object(let members) = value else {
      throw FormatError.malformed("'\(metadataKey)' is not an object")
    }
    return try OrderedDictionary(
      uniqueKeysWithValues: members.map { key, value in
        guard case .string(let text) = value else {
          throw FormatError.malformed("'\(key)' in '\(metadataKey)' is not a string")
        }
        return (key, text)
      })
  }

  /// Every byte after the header belongs to exactly one tensor.
  private func checkCoverage(of byteCount: Int) throws {
    var end = 0
    for entry in entries {
      guard entry.dataOffsets.lowerBound == end else {
        throw FormatError.mismatch(
          expected: "data that begins at offset \(end), where the tensor before it ends",
          found: "\(entry.dataOffsets.lowerBound)", tensor: entry.name)
      }
      end = entry.dataOffsets.upperBound
      guard end <= byteCount else {
        throw FormatError(
          .truncated(
            expectedBytes: entry.dataOffsets.count,
            foundBytes: max(0, byteCount - entry.dataOffsets.lowerBound),
            purpose: "\(entry.elementType) \(entry.shape)"), tensor: entry.name,
          offset: dataOffset + entry.dataOffsets.lowerBound)
      }
    }
    guard end == byteCount else {
      throw FormatError.mismatch(
        expected: "the file to end with its last tensor",
        found: counted(byteCount - end, "more byte"), offset: dataOffset + end)
    }
  }
}

extension SafetensorsHeader.Entry {
  fileprivate init(name: String, json: JSONValue) throws {
    guard case .object(let members) = json else {
      throw FormatError.malformed("a tensor's entry is not an object")
    }
    if let unknown = members.keys.first(where: {
      !["dtype", "shape", "data_offsets"].contains($0)
    }) {
      throw FormatError.malformed("a tensor's entry has the unknown field '\(unknown)'")
    }
    guard case .string(let dtype)? = members["dtype"] else {
      throw FormatError.malformed("a tensor's entry has no 'dtype' text")
    }
    guard let elementType = ElementType(safetensorsName: dtype) else {
      throw FormatError.unsupported("the element type '\(dtype)' is unknown")
    }
    let dimensions = try Self.counts(members["shape"], field: "shape")
    guard let shape = Shape(dimensions) else {
      throw FormatError.malformed("the shape \(dimensions) has more than 2^63 elements")
    }
    let offsets = try Self.counts(members["data_offsets"], field: "data_offsets")
    guard offsets.count == 2, offsets[0] <= offsets[1] else {
      throw FormatError.mismatch(
        expected: "a begin and an end in 'data_offsets'", found: "\(offsets)")
    }
    guard let byteCount = elementType.byteCount(forElements: shape.elementCount) else {
      throw FormatError.mismatch(
        expected: "elements that fill whole bytes below 2^63", found: "\(elementType) \(shape)")
    }
    guard offsets[1] - offsets[0] == byteCount else {
      throw FormatError.mismatch(
        expected: "\(counted(byteCount, "byte")) for \(elementType) \(shape)",
        found: "\(offsets[1] - offsets[0])")
    }
    self.init(
      name: name, elementType: elementType, shape: shape, dataOffsets: offsets[0]..<offsets[1])
  }

  private static func counts(_ json: JSONValue?, field: String) throws -> [Int] {
    guard case .array(let items)? = json else {
      throw FormatError.malformed("a tensor's entry has no '\(field)' array")
    }
    return try items.map { item in
      guard case .integer(let value) = item, value >= 0 else {
        throw FormatError.malformed("'\(field)' has an item that is no count: \(item.serialized())")
      }
      return value
    }
  }
}
