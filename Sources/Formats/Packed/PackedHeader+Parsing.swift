import OrderedCollections
import Storage

extension PackedHeader {
  /// Reads a header and checks everything that needs no tensor bytes, except the records' offsets,
  /// which depend on the file.
  package init(parsing json: JSONValue) throws {
    var members = try JSONObjectReader(json, path: "header")
    guard try members.string("format") == "condi" else {
      throw ModelError.malformed("the header's 'format' is not 'condi'")
    }
    let producer = try members.require("producer", members.string("producer"))
    guard !producer.isEmpty else {
      throw ModelError.malformed("the header's 'producer' is empty")
    }
    self.init(producer: producer)
    source = try members.object("source") { try Source(parsing: &$0) }
    recipe = members.take("recipe")
    metadata = try members.object("metadata") { try $0.strings() } ?? [:]
    values =
      try members.object("values") { try $0.remaining.mapValues(ArchiveValue.init(json:)) } ?? [:]
    activations = try ActivationQuantizer.list(&members)
    let adjusted = try members.array("adjusted") ?? []
    _ = try members.require("tensors", members.objects("tensors") { try appendTensor(&$0) })
    adjustedNames = try adjusted.map(checkAdjusted)
    unknownMembers = members.remaining
  }

  /// Returns the name in `json`, which must be that of a tensor kept in full precision.
  private func checkAdjusted(_ json: JSONValue) throws -> String {
    guard case .string(let name) = json else {
      throw ModelError.malformed("'adjusted' has an item that is not a string")
    }
    guard let index = names[name] else {
      throw ModelError.malformed("'adjusted' names it, but there is no such tensor", tensor: name)
    }
    if case .affine = entries[index].encoding {
      throw ModelError.malformed("'adjusted' names it, but it is quantized", tensor: name)
    }
    return name
  }

  private mutating func appendTensor(_ members: inout JSONObjectReader) throws {
    let name = try members.require("name", members.string("name"))
    guard names[name] == nil else {
      throw ModelError.malformed("the name occurs twice in the header", tensor: name)
    }
    if let original = try members.string("sharesWith") {
      guard let index = names[original], entries[index].name == original else {
        throw ModelError.malformed(
          "it shares the bytes of '\(original)', which is not a tensor before it", tensor: name)
      }
      names[name] = index
    } else {
      names[name] = entries.count
      entries.append(
        try locatingErrors(tensor: name) { try PackedEntry(parsing: &members, name: name) })
    }
    // A known member that was not read contradicts the rest of the entry.
    if let misplaced = members.remaining.keys.first(where: Self.tensorMembers.contains) {
      throw ModelError.malformed("'\(misplaced)' does not belong in this entry", tensor: name)
    }
  }

  /// The members of all kinds of tensor entries.
  private static let tensorMembers: Set<String> = [
    "name", "sharesWith", "type", "shape", "role", "encoding", "bits", "granularity", "parts",
    "parameters", "base", "distinct", "compression", "encodedBytes", "offset", "bytes", "crc32",
  ]
}

extension PackedHeader.Source {
  fileprivate init(parsing members: inout JSONObjectReader) throws {
    let sha256 = try members.require("sha256", members.string("sha256"))
    guard sha256.utf8.count == 64, sha256.allSatisfy({ "0123456789abcdef".contains($0) }) else {
      throw ModelError.malformed("the source's 'sha256' is not 64 hexadecimal digits")
    }
    self.init(
      format: try members.require("format", members.string("format")),
      byteCount: try members.require("byteCount", members.count("byteCount")), sha256: sha256,
      tensorByteCount: try members.require(
        "tensorByteCount", members.count("tensorByteCount")),
      root: try members.string("root"))
    isWholeState = members.take("isWholeState") == .boolean(true)
    edits = try members.object("edits") { try ArchiveEdits(parsing: &$0) }
  }
}

extension ActivationQuantizer {
  /// Reads the quantizers of the member `activations`, as `json` writes them.
  static func list(_ members: inout JSONObjectReader) throws -> [Self] {
    try members.objects("activations") { try Self(parsing: &$0) } ?? []
  }

  private init(parsing members: inout JSONObjectReader) throws {
    let name = try members.require("name", members.string("name"))
    let bitWidth = try members.require("bits", members.integer("bits"))
    let lower = try members.require("lower", members.number("lower"))
    let upper = try members.require("upper", members.number("upper"))
    guard (1...8).contains(bitWidth), lower <= upper,
      [lower, upper].allSatisfy({ Float($0).isFinite && Double(Float($0)) == $0 })
    else {
      throw ModelError.mismatch(
        expected: "1 to 8 bits and finite bounds in order, exact in Float32",
        found: "\(bitWidth) bits, \(lower) to \(upper)", tensor: name)
    }
    let text = try members.string("scaling") ?? ActivationScaling.tensor.rawValue
    guard let scaling = ActivationScaling(rawValue: text) else {
      throw ModelError.unsupported("scaling '\(text)' of the activation '\(name)' is not known")
    }
    let isNormalized = try members.boolean("normalized") ?? false
    guard !isNormalized || scaling.groupSize == nil else {
      throw ModelError.unsupported("groups of the activation '\(name)' cannot be normalized")
    }
    // It may change the meaning of the bounds.
    if let unknown = members.remaining.keys.first {
      throw ModelError.unsupported("'\(unknown)' of the activation '\(name)' is not known")
    }
    self.init(
      name: name, bitWidth: bitWidth, lower: Float(lower), upper: Float(upper), scaling: scaling,
      isNormalized: isNormalized)
  }
}

extension PackedEntry {
  fileprivate init(parsing members: inout JSONObjectReader, name: String) throws {
    let type = try members.require("type", members.string("type"))
    guard let elementType = ElementType(rawValue: type) else {
      throw ModelError.unsupported("element type '\(type)' is not known")
    }
    let dimensions = try members.require("shape", members.array("shape")).map { json in
      guard case .integer(let dimension) = json else {
        throw ModelError.malformed("a dimension is not an integer")
      }
      return dimension
    }
    guard let shape = Shape(dimensions),
      elementType.byteCount(forElements: shape.elementCount) != nil
    else {
      throw ModelError.malformed("the shape \(dimensions) of \(elementType) is not possible")
    }
    let role = try members.require("role", members.string("role"))
    guard let role = TensorRole(rawValue: role) else {
      throw ModelError.unsupported("role '\(role)' is not known")
    }
    self.init(
      name: name, elementType: elementType, shape: shape, role: role,
      encoding: try PackedEncoding(parsing: &members, elementType: elementType, shape: shape),
      inflatedByteCount: try Self.inflatedByteCount(parsing: &members),
      offset: try members.require("offset", members.count("offset")),
      byteCount: try members.require("bytes", members.count("bytes")),
      checksum: try Self.checksum(members.require("crc32", members.string("crc32"))))
    try checkLength()
  }

  private static func inflatedByteCount(parsing members: inout JSONObjectReader) throws -> Int? {
    let compression = try members.string("compression")
    let byteCount = try members.count("encodedBytes")
    guard compression == nil || compression == "zlib" else {
      throw ModelError.unsupported("compression '\(compression!)' is not known")
    }
    guard (compression == nil) == (byteCount == nil) else {
      throw ModelError.malformed("'compression' and 'encodedBytes' do not occur together")
    }
    return byteCount
  }

  private static func checksum(_ digits: String) throws -> UInt32 {
    guard digits.utf8.count == 8, digits == digits.lowercased(),
      let checksum = UInt32(digits, radix: 16)
    else {
      throw ModelError.malformed("the checksum '\(digits)' is not 8 hexadecimal digits")
    }
    return checksum
  }

  /// Checks that the record is as long as its encoding requires.
  private func checkLength() throws {
    if inflatedByteCount != nil, case .affine = encoding {
      throw ModelError.malformed("an affine record is never compressed")
    }
    let needed = try encodedByteCount()
    let declared = inflatedByteCount ?? byteCount
    guard declared == needed else {
      throw ModelError(
        .truncated(
          expectedBytes: needed, foundBytes: declared, purpose: "\(elementType) \(shape)"))
    }
  }
}

extension PackedEncoding {
  fileprivate init(
    parsing members: inout JSONObjectReader, elementType: ElementType, shape: Shape
  ) throws {
    let name = try members.require("encoding", members.string("encoding"))
    let bits = name == "raw" ? nil : try members.integer("bits")
    switch name {
    case "raw":
      self = .raw
    case "affine":
      self = .affine(
        try AffineSpec(
          parsing: &members, bitWidth: members.require("bits", bits), elementType: elementType,
          shape: shape))
    case "palette":
      let distinctCount = try members.require("distinct", members.integer("distinct"))
      guard (1...256).contains(distinctCount), bits == Self.paletteBitWidth(distinctCount),
        LosslessEncoding.paletteWidths.contains(elementType.bitWidth)
      else {
        throw ModelError.malformed(
          "a palette of \(distinctCount) \(elementType) values and "
            + "\(bits.map(String.init) ?? "no") bits is not possible")
      }
      self = .palette(distinctCount: distinctCount)
    case "integer":
      let bitWidth = try members.require("bits", bits)
      guard elementType.isInteger, (0...63).contains(bitWidth) else {
        throw ModelError.malformed(
          "\(bitWidth)-bit differences of \(elementType) are not possible")
      }
      self = .integer(
        base: try members.require("base", members.integer("base")), bitWidth: bitWidth)
    default:
      throw ModelError.unsupported("encoding '\(name)' is not known")
    }
  }
}

extension AffineSpec {
  fileprivate init(
    parsing members: inout JSONObjectReader, bitWidth: Int, elementType: ElementType, shape: Shape
  ) throws {
    let granularity = try members.require("granularity", members.string("granularity"))
    let parameters = try members.string("parameters") ?? "float32"
    guard let granularity = QuantizationGranularity(granularity) else {
      throw ModelError.unsupported("granularity '\(granularity)' is not known")
    }
    guard let parameterType = QuantizationParameterType(rawValue: parameters) else {
      throw ModelError.unsupported("parameters of type '\(parameters)' are not known")
    }
    guard (1...8).contains(bitWidth), QuantizedTensor.supportedElementTypes.contains(elementType)
    else {
      throw ModelError.malformed("\(bitWidth)-bit codes of \(elementType) are not possible")
    }
    self.init(
      layout: try AffineLayout(
        shape: shape, granularity: granularity, parts: members.integer("parts") ?? 1),
      bitWidth: bitWidth, parameterType: parameterType)
    try checkParameterType()
  }
}
