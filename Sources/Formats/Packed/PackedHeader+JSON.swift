import OrderedCollections

extension PackedHeader {
  /// The header as JSON, in one canonical order of members.
  package var json: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = [
      "format": .string("condi"),
      "producer": .string(producer),
    ]
    members["source"] = source?.json
    members["recipe"] = recipe
    if !metadata.isEmpty { members["metadata"] = .object(metadata.mapValues { .string($0) }) }
    if !values.isEmpty { members["values"] = .object(values.mapValues(\.json)) }
    if !activations.isEmpty { members["activations"] = .array(activations.map(\.json)) }
    if !adjustedNames.isEmpty { members["adjusted"] = .array(adjustedNames.map { .string($0) }) }
    for (name, value) in unknownMembers { members[name] = value }
    members["tensors"] = .array(
      names.map { name, index in
        entries[index].name == name
          ? entries[index].json
          : .object(["name": .string(name), "sharesWith": .string(entries[index].name)])
      })
    return .object(members)
  }
}

extension PackedHeader.Source {
  fileprivate var json: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = [
      "format": .string(format),
      "byteCount": .integer(byteCount),
      "sha256": .string(sha256),
      "tensorByteCount": .integer(tensorByteCount),
    ]
    members["root"] = root.map { .string($0) }
    if isWholeState { members["isWholeState"] = .boolean(true) }
    return .object(members)
  }
}

extension ActivationQuantizer {
  var json: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = [
      "name": .string(name),
      "bits": .integer(bitWidth),
      "lower": .number(Double(lower)),
      "upper": .number(Double(upper)),
    ]
    if scaling != .tensor { members["scaling"] = .string(scaling.rawValue) }
    return .object(members)
  }
}

extension PackedEntry {
  fileprivate var json: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = [
      "name": .string(name),
      "type": .string(elementType.rawValue),
      "shape": .array(shape.dimensions.map { .integer($0) }),
      "role": .string(role.rawValue),
    ]
    members.merge(encoding.members) { first, _ in first }
    if let inflatedByteCount {
      members["compression"] = .string("zlib")
      members["encodedBytes"] = .integer(inflatedByteCount)
    }
    members["offset"] = .integer(offset)
    members["bytes"] = .integer(byteCount)
    let digits = String(checksum, radix: 16)
    members["crc32"] = .string(String(repeating: "0", count: 8 - digits.count) + digits)
    return .object(members)
  }
}

extension PackedEncoding {
  fileprivate var members: OrderedDictionary<String, JSONValue> {
    switch self {
    case .raw:
      return ["encoding": .string("raw")]
    case .affine(let affine):
      var members: OrderedDictionary<String, JSONValue> = [
        "encoding": .string("affine"),
        "bits": .integer(affine.bitWidth),
        "granularity": .string(affine.layout.granularity.description),
      ]
      if affine.layout.parts > 1 { members["parts"] = .integer(affine.layout.parts) }
      if affine.parameterType != .float32 {
        members["parameters"] = .string(affine.parameterType.rawValue)
      }
      return members
    case .palette(let distinctCount):
      return [
        "encoding": .string("palette"),
        "bits": .integer(Self.paletteBitWidth(distinctCount)),
        "distinct": .integer(distinctCount),
      ]
    case .integer(let base, let bitWidth):
      return [
        "encoding": .string("integer"),
        "bits": .integer(bitWidth),
        "base": .integer(base),
      ]
    }
  }
}
