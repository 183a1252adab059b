import OrderedCollections

extension SafetensorsHeader {
  /// The layout of the Rust core: the most widely aligned element types first, then by name.
  ///
  /// - Throws: `FormatError` that names the first tensor that safetensors cannot hold.
  static func layout(of tensors: OrderedDictionary<String, Tensor>) throws -> [Entry] {
    let keyed = try tensors.map { name, tensor in
      guard name != metadataKey else {
        throw FormatError.unsupported("the name is reserved in safetensors", tensor: name)
      }
      guard let rank = tensor.elementType.safetensorsRank else {
        throw FormatError.unsupported(
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
        throw FormatError.unsupported("the tensors have more than 2^63 bytes", tensor: name)
      }
      end = next
      return Entry(
        name: name, elementType: tensor.elementType, shape: tensor.shape, dataOffsets: start..<end)
    }
  }

  /// The length and the JSON text, padded with spaces to a multiple of 8.
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
      throw FormatError(
        .limitExceeded(
          what: "a safetensors header in bytes", limit: byteCountLimit,
          found: "\(text.count)"))
    }
    return withUnsafeBytes(of: UInt64(text.count).littleEndian, Array.init) + text
  }
}
