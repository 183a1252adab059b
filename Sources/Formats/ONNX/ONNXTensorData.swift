import Storage

/// Loads the elements of initializers from a model's file and from the files beside it.
struct ONNXTensorData: Sendable {
  let file: InputFile
  private let siblings: SiblingFiles

  init(file: InputFile) {
    self.file = file
    siblings = SiblingFiles(beside: file)
  }

  /// Returns the paths of the external data files, sorted by name, each once.
  ///
  /// - Throws: `ModelError` when a name would leave the folder.
  func externalPaths(of initializers: [ONNXTensorDescription]) throws -> [String] {
    let locations = initializers.compactMap { description -> String? in
      guard case .external(let data) = description.place else { return nil }
      return data.location
    }
    return try Set(locations).sortedByBytes().map(siblings.path)
  }

  /// Checks, without reading the data, that it can have the length that the shape needs.
  func check(_ description: ONNXTensorDescription, _ elements: ONNXElements) throws {
    let byteCount = elements.storedByteCount
    let found: Int
    switch description.place {
    case .raw(let range): found = range.count
    case .none: found = 0
    case .typed(let field):
      guard field == elements.storedType.onnxTypedField else {
        throw ModelError.malformed("\(description.type.name) data in \(field.name)")
      }
      return  // loading counts the elements
    case .external(let data):
      found = data.byteCount ?? byteCount
      _ = try external(data, byteCount: found) { _, _ in }
    }
    guard found == byteCount else {
      throw ModelError(
        .truncated(
          expectedBytes: byteCount, foundBytes: found,
          purpose: "\(elements.storedType) \(description.shape)"),
        offset: description.range.lowerBound)
    }
  }

  /// Returns the elements in ONNX's own order: little-endian and row-major.
  func bytes(of description: ONNXTensorDescription, _ elements: ONNXElements) throws
    -> SharedBytes
  {
    switch description.place {
    case .none: return SharedBytes()
    case .raw(let range):
      return try file.bytes(at: range.lowerBound, count: range.count, purpose: "raw_data")
    case .typed(let field): return try typedBytes(description, field, elements)
    case .external(let data):
      let byteCount = data.byteCount ?? elements.storedByteCount
      return try external(data, byteCount: byteCount) { file, byteCount in
        try file.bytes(at: data.offset, count: byteCount, purpose: "the elements")
      }
    }
  }

  /// Returns everything that defines the elements, unprocessed: every field but the name and the
  /// documentation, then the external data.
  func storedBytes(of description: ONNXTensorDescription) throws -> SharedBytes {
    var bytes: [UInt8] = []
    var fields = ProtobufFields(in: file, range: description.range)
    while let field = try fields.next() {
      guard ![8, 12].contains(field.number) else { continue }
      bytes += try file.bytes(
        at: field.range.lowerBound, count: field.range.count, purpose: "a field"
      ).array
    }
    guard case .external(let data) = description.place else { return SharedBytes(bytes) }
    return SharedBytes(
      bytes
        + (try external(data, byteCount: data.byteCount ?? 0) { file, _ in
          try file.bytes(
            at: data.offset, count: data.byteCount ?? file.byteCount - data.offset,
            purpose: "the elements")
        }).array)
  }

  /// Opens the file of external data, which must contain all of the data.
  ///
  /// - Throws: `ModelError` whose message names the file but whose location is the model, which is
  ///   at fault.
  private func external<Result>(
    _ data: ONNXExternalData, byteCount: Int, _ body: (InputFile, Int) throws -> Result
  ) throws -> Result {
    do {
      let file = try siblings.open(data.location)
      guard data.offset <= file.byteCount, byteCount <= file.byteCount - data.offset else {
        throw ModelError(
          .truncated(
            expectedBytes: byteCount, foundBytes: max(0, file.byteCount - data.offset),
            purpose: "the elements from byte \(data.offset) on"))
      }
      return try body(file, byteCount)
    } catch let error as ModelError {
      throw ModelError.malformed("external data in '\(data.location)': \(error.problem)")
    }
  }

  private func typedBytes(
    _ description: ONNXTensorDescription, _ field: ONNXTypedField, _ form: ONNXElements
  ) throws -> SharedBytes {
    let expected = form.storedByteCount
    var elements = ONNXTypedElements(
      field: field, elementType: form.storedType, byteCount: expected)
    var fields = ProtobufFields(in: file, range: description.range)
    while let next = try fields.next() {
      guard next.number == field.rawValue else { continue }
      // Floating-point data is usually one packed field, which is exactly the elements.
      if field.fixedWidth != nil, let range = next.delimitedRange, range.count == expected,
        elements.isEmpty
      {
        let bytes = try file.bytes(
          at: range.lowerBound, count: range.count, purpose: field.name)
        try refuseMore(&fields, field)
        return bytes
      }
      try elements.append(next, in: file)
    }
    return try elements.finish(description.shape)
  }

  private func refuseMore(_ fields: inout ProtobufFields, _ field: ONNXTypedField) throws {
    while let next = try fields.next() {
      if next.number == field.rawValue, next.delimitedRange?.isEmpty != true {
        throw ModelError.malformed(
          "\(field.name) has more elements than the shape", offset: next.range.lowerBound)
      }
    }
  }
}

/// Collects a tensor's elements from a typed field of `TensorProto`, packed or one by one.
struct ONNXTypedElements {
  private let field: ONNXTypedField
  private let elementType: ElementType
  private let byteCount: Int
  private var bytes: [UInt8] = []

  /// Creates an empty collection.
  ///
  /// - Parameter byteCount: the bytes that the tensor needs; it is an error to append more.
  init(field: ONNXTypedField, elementType: ElementType, byteCount: Int) {
    self.field = field
    self.elementType = elementType
    self.byteCount = byteCount
  }

  var isEmpty: Bool { bytes.isEmpty }

  /// Adds the elements of one occurrence of the field.
  ///
  /// - Throws: `ModelError` for another encoding, a value that the type cannot represent, or more
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
      throw ModelError.malformed(
        "\(field.name) is not encoded as such", offset: occurrence.range.lowerBound)
    }
  }

  /// Returns the collected bytes.
  ///
  /// - Throws: `ModelError` when there are too few elements.
  func finish(_ shape: Shape) throws -> SharedBytes {
    guard bytes.count == byteCount else {
      throw ModelError(
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
    // One int32_data entry holds all elements of a byte.
    let width = max(1, elementType.bitWidth / 8)
    guard width <= byteCount - bytes.count else { throw tooMany(offset) }
    guard isInRange(value) else {
      throw ModelError.malformed(
        "\(field.name) holds \(Int64(bitPattern: value)), which is not a valid \(elementType)",
        offset: offset)
    }
    var value = value
    for _ in 0..<width {
      bytes.append(UInt8(truncatingIfNeeded: value))
      value >>= 8
    }
  }

  /// Whether `value` fits the type: signed numbers are sign-extended to 64 bits, and 16-bit and
  /// 8-bit floats are unsigned codes.
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

  private func tooMany(_ offset: Int) -> ModelError {
    ModelError.malformed("\(field.name) has more elements than the shape", offset: offset)
  }
}

/// The location of a tensor's data in another file: the pairs of `external_data`.
struct ONNXExternalData: Hashable, Sendable {
  /// The file's path, relative to the model's folder.
  let location: String
  let offset: Int
  /// The length; `nil` if the tensor's shape determines it.
  let byteCount: Int?

  /// Parses the pairs.
  ///
  /// - Throws: `ModelError` for a missing location, invalid numbers, and duplicate keys.
  init(_ pairs: [ONNXStringPair]) throws {
    var values: [String: String] = [:]
    for pair in pairs where values.updateValue(pair.value, forKey: pair.key) != nil {
      throw ModelError.malformed("the external data has '\(pair.key)' twice")
    }
    guard let location = values["location"] else {
      throw ModelError.malformed("the external data has no location")
    }
    func count(_ key: String) throws -> Int? {
      guard let text = values[key] else { return nil }
      guard let value = Int(text), value >= 0 else {
        throw ModelError.malformed("the external data's \(key) is not a count: '\(text)'")
      }
      return value
    }
    self.location = location
    offset = try count("offset") ?? 0
    byteCount = try count("length")
  }
}
