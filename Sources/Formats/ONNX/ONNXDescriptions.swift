import Storage

/// The small fields of ONNX's messages, by the numbers of `onnx.proto` (ONNX 1.23).
///
/// Each description takes the fields that it knows and ignores the others, as protobuf requires of
/// readers: the last occurrence of a scalar wins, and occurrences of a repeated field accumulate.
/// Tensor data and whole messages are not among these fields; they stay in the file.
protocol ONNXDescription {
  init()

  /// Takes the field if this description has it.
  ///
  /// - Throws: `ModelError` for a value of another kind, or text that is not UTF-8.
  mutating func take(_ field: ProtobufFields.Field, from reader: inout ONNXFieldReader) throws
}

/// `StringStringEntryProto`.
struct ONNXStringPair: ONNXDescription, Hashable, Sendable {
  private(set) var key = ""
  private(set) var value = ""

  mutating func take(_ field: ProtobufFields.Field, from reader: inout ONNXFieldReader) throws {
    switch field.number {
    case 1: key = try reader.text(field)
    case 2: value = try reader.text(field)
    default: break
    }
  }
}

/// `OperatorSetIdProto`.
struct ONNXOperatorSet: ONNXDescription {
  private(set) var domain = ""
  private(set) var version = 0

  mutating func take(_ field: ProtobufFields.Field, from reader: inout ONNXFieldReader) throws {
    switch field.number {
    case 1: domain = try reader.text(field)
    case 2: version = try reader.integer(field)
    default: break
    }
  }
}

/// `ModelProto` without its graph, functions and training information.
struct ONNXModelDescription: ONNXDescription {
  private(set) var irVersion: Int?
  private(set) var producerName = ""
  private(set) var producerVersion = ""
  private(set) var domain = ""
  private(set) var modelVersion: Int?
  private(set) var docString = ""
  private(set) var opsetImport: [ONNXOperatorSet] = []
  private(set) var metadataProps: [ONNXStringPair] = []

  mutating func take(_ field: ProtobufFields.Field, from reader: inout ONNXFieldReader) throws {
    switch field.number {
    case 1: irVersion = try reader.integer(field)
    case 2: producerName = try reader.text(field)
    case 3: producerVersion = try reader.text(field)
    case 4: domain = try reader.text(field)
    case 5: modelVersion = try reader.integer(field)
    case 6: docString = try reader.text(field)
    case 8: opsetImport.append(try reader.message(field))
    case 14: metadataProps.append(try reader.message(field))
    default: break
    }
  }
}

/// `GraphProto` without its nodes, initializers, inputs and outputs.
struct ONNXGraphDescription: ONNXDescription {
  private(set) var name = ""
  private(set) var docString = ""

  mutating func take(_ field: ProtobufFields.Field, from reader: inout ONNXFieldReader) throws {
    switch field.number {
    case 2: name = try reader.text(field)
    case 10: docString = try reader.text(field)
    default: break
    }
  }
}

/// `TensorProto` without its data.
struct ONNXTensorHeader: ONNXDescription {
  private(set) var dims: [Int] = []
  private(set) var dataType = 0
  private(set) var hasSegment = false
  private(set) var name = ""
  private(set) var externalData: [ONNXStringPair] = []
  private(set) var dataLocation = 0

  mutating func take(_ field: ProtobufFields.Field, from reader: inout ONNXFieldReader) throws {
    switch field.number {
    case 1: dims += try reader.integers(field)
    case 2: dataType = try reader.integer(field)
    case 3: hasSegment = true
    case 8: name = try reader.text(field)
    case 13: externalData.append(try reader.message(field))
    case 14: dataLocation = try reader.integer(field)
    default: break
    }
  }
}

/// Reads small fields, with a limit on their total size.
struct ONNXFieldReader {
  /// The most bytes that may be read of one message.
  static let byteCountLimit = 1 << 26

  private let file: InputFile
  private var byteCount = 0

  init(file: InputFile) {
    self.file = file
  }

  mutating func integer(_ field: ProtobufFields.Field) throws -> Int {
    try count(field)
    guard case .varint(let value) = field.content else { throw mismatch(field, "a number") }
    return Int(Int64(bitPattern: value))
  }

  /// Returns the numbers of a repeated field: a single one, or many that are packed.
  mutating func integers(_ field: ProtobufFields.Field) throws -> [Int] {
    guard let range = field.delimitedRange else { return [try integer(field)] }
    try count(field)
    var reader = ByteReader(
      try file.bytes(at: range.lowerBound, count: range.count, purpose: "numbers"),
      baseOffset: range.lowerBound)
    var values: [Int] = []
    while !reader.isAtEnd {
      values.append(Int(Int64(bitPattern: try reader.readVarint(for: "a number"))))
    }
    return values
  }

  /// Returns the bytes of `float` numbers: of a single one, or of many that are packed.
  mutating func floats(_ field: ProtobufFields.Field) throws -> [UInt8] {
    try count(field)
    switch field.content {
    case .fixed(let range) where range.count == 4:
      return try file.bytes(at: range.lowerBound, count: 4, purpose: "a number").array
    case .delimited(let range) where range.count.isMultiple(of: 4):
      return try file.bytes(at: range.lowerBound, count: range.count, purpose: "numbers").array
    default: throw mismatch(field, "numbers of 4 bytes")
    }
  }

  mutating func text(_ field: ProtobufFields.Field) throws -> String {
    try count(field)
    guard let range = field.delimitedRange else { throw mismatch(field, "text") }
    let bytes = try file.bytes(at: range.lowerBound, count: range.count, purpose: "text")
    guard let text = String(validating: bytes.array, as: UTF8.self) else {
      throw mismatch(field, "text in UTF-8")
    }
    return text
  }

  mutating func message<Message: ONNXDescription>(_ field: ProtobufFields.Field) throws -> Message {
    try count(field)
    guard let range = field.delimitedRange else { throw mismatch(field, "a message") }
    var message = Message()
    var fields = ProtobufFields(in: file, range: range)
    while let next = try fields.next() { try message.take(next, from: &self) }
    return message
  }

  private mutating func count(_ field: ProtobufFields.Field) throws {
    guard field.range.count <= Self.byteCountLimit - byteCount else {
      throw ModelError(
        .limitExceeded(
          what: "a message without its data in bytes", limit: Self.byteCountLimit, found: "more"),
        offset: field.range.lowerBound)
    }
    byteCount += field.range.count
  }

  private func mismatch(_ field: ProtobufFields.Field, _ expected: String) -> ModelError {
    ModelError.malformed(
      "the field \(field.number) is not \(expected)", offset: field.range.lowerBound)
  }
}
