/// Loads initializers' elements from a model's file and from the files beside it.
struct ONNXTensorData: Sendable {
  let file: InputFile
  private let siblings: SiblingFiles

  init(file: InputFile) {
    self.file = file
    siblings = SiblingFiles(beside: file)
  }

  /// The files of external data, sorted by name, each once.
  ///
  /// - Throws: `FormatError` when a name would leave the folder.
  func externalPaths(of initializers: [ONNXTensorDescription]) throws -> [String] {
    let locations = initializers.compactMap { description -> String? in
      guard case .external(let data) = description.place else { return nil }
      return data.location
    }
    return try Set(locations).sortedByBytes().map(siblings.path)
  }

  /// Checks, without reading it, that the data can be as long as the shape needs.
  func check(
    _ description: ONNXTensorDescription, byteCount: Int, _ elementType: ElementType
  ) throws {
    let found: Int
    switch description.place {
    case .raw(let range): found = range.count
    case .none: found = 0
    case .typed(let field):
      guard field == elementType.onnxTypedField else {
        throw FormatError.malformed("\(description.type.name) data in \(field.name)")
      }
      return  // counted when loaded
    case .external(let data):
      found = data.byteCount ?? byteCount
      _ = try external(data, byteCount: found) { _, _ in }
    }
    guard found == byteCount else {
      throw FormatError(
        .truncated(
          expectedBytes: byteCount, foundBytes: found,
          purpose: "\(elementType) \(description.shape)"),
        offset: description.range.lowerBound)
    }
  }

  /// The elements, little-endian and in row-major order, as ONNX stores them too.
  func bytes(of description: ONNXTensorDescription, as elementType: ElementType) throws
    -> SharedBytes
  {
    switch description.place {
    case .none: return SharedBytes()
    case .raw(let range):
      return try file.bytes(at: range.lowerBound, count: range.count, purpose: "raw_data")
    case .typed(let field): return try typedBytes(description, field, elementType)
    case .external(let data):
      let byteCount =
        data.byteCount ?? elementType.byteCount(forElements: description.shape.elementCount) ?? 0
      return try external(data, byteCount: byteCount) { file, byteCount in
        try file.bytes(at: data.offset, count: byteCount, purpose: "the elements")
      }
    }
  }

  /// All that stands for the elements, as it is: every field but the name and the documentation, and
  /// external data.
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

  /// Opens the file of external data, which must reach as far as the data does.
  ///
  /// - Throws: `FormatError` that names the file, and not it as the place: the model is at fault.
  private func external<Result>(
    _ data: ONNXExternalData, byteCount: Int, _ body: (InputFile, Int) throws -> Result
  ) throws -> Result {
    do {
      let file = try siblings.open(data.location)
      guard data.offset <= file.byteCount, byteCount <= file.byteCount - data.offset else {
        throw FormatError(
          .truncated(
            expectedBytes: byteCount, foundBytes: max(0, file.byteCount - data.offset),
            purpose: "the elements from byte \(data.offset) on"))
      }
      return try body(file, byteCount)
    } catch let error as FormatError {
      throw FormatError.malformed("external data in '\(data.location)': \(error.problem)")
    }
  }

  private func typedBytes(
    _ description: ONNXTensorDescription, _ field: ONNXTypedField, _ elementType: ElementType
  ) throws -> SharedBytes {
    let expected = elementType.byteCount(forElements: description.shape.elementCount) ?? 0
    var elements = ONNXTypedElements(field: field, elementType: elementType, byteCount: expected)
    var fields = ProtobufFields(in: file, range: description.range)
    while let next = try fields.next() {
      guard next.number == field.rawValue else { continue }
      // One packed field of reals is the usual case, and is the elements as they are.
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
        throw FormatError.malformed(
          "\(field.name) has more elements than the shape", offset: next.range.lowerBound)
      }
    }
  }
}
