import OrderedCollections
import Storage

/// The index of a GGUF file: its metadata, and the locations of its tensors.
struct GGUFHeader: Sendable {
  struct Entry: Sendable {
    let name: String
    let type: GGUFTensorType
    /// The shape in row-major order: the file's dimensions reversed.
    let shape: Shape
    /// The offset in the file.
    let offset: Int
    /// The bytes as stored; `nil` for types of unknown width.
    let byteCount: Int?
  }

  static let magic = Array("GGUF".utf8)
  static let versions: ClosedRange<UInt32> = 2...3
  static let tensorCountLimit = 1_000_000
  static let nameByteCountLimit = 65_535
  /// ggml's `GGML_MAX_DIMS`.
  static let rankLimit = 4

  let metadata: GGUFMetadata
  /// In the order of the file.
  let entries: [Entry]

  /// Reads a file's header.
  ///
  /// - Throws: `ModelError` for anything that the format's rules do not allow.
  init(reading file: InputFile) throws {
    // The header's length is not recorded, so a file that is not mapped is read in growing pieces.
    var byteCount = file.access == .mapped ? file.byteCount : min(1 << 20, file.byteCount)
    while true {
      do {
        let bytes = try file.bytes(at: 0, count: byteCount, purpose: "the header")
        self = try GGUFHeader(parsing: bytes, fileByteCount: file.byteCount)
        return
      } catch let error as ModelError {
        guard case .truncated = error.problem, byteCount < file.byteCount else { throw error }
        byteCount = min(byteCount * 4, file.byteCount)
      }
    }
  }

  private init(parsing bytes: SharedBytes, fileByteCount: Int) throws {
    var reader = ByteReader(bytes)
    guard try reader.read(Self.magic.count, for: "the signature").array == Self.magic else {
      throw ModelError.malformed("not a GGUF file", offset: 0)
    }
    try Self.checkVersion(try reader.readInteger(UInt32.self, for: "the version"))
    let tensorCount = try Self.readCount(
      &reader, of: "tensors", limit: Self.tensorCountLimit)
    let pairCount = try Self.readCount(
      &reader, of: "metadata pairs", limit: GGUFMetadata.pairCountLimit)
    metadata = try GGUFMetadata(parsing: &reader, pairCount: pairCount)
    let descriptions = try (0..<tensorCount).map { _ in try Description(parsing: &reader) }
    let mask = metadata.alignment - 1
    let dataOffset = (reader.offset + mask) & ~mask
    entries = try descriptions.map { description in
      try locatingErrors(tensor: description.name) {
        try description.entry(
          dataOffset: dataOffset, alignment: mask + 1, fileByteCount: fileByteCount)
      }
    }
    try Self.checkNames(entries)
    try Self.checkOverlaps(entries)
  }

  private static func checkVersion(_ version: UInt32) throws {
    if version.byteSwapped <= versions.upperBound, version > 0 {
      throw ModelError.unsupported("big-endian GGUF files are not supported", offset: 4)
    }
    guard versions.contains(version) else {
      throw ModelError.unsupported(
        "GGUF version \(version) is not supported; 2 and 3 are", offset: 4)
    }
  }

  private static func readCount(_ reader: inout ByteReader, of what: String, limit: Int) throws
    -> Int
  {
    let start = reader.fileOffset
    let count = try reader.readInteger(UInt64.self, for: "the number of \(what)")
    guard count <= limit else {
      throw ModelError(
        .limitExceeded(what: "the number of \(what)", limit: limit, found: "\(count)"),
        offset: start)
    }
    return Int(count)
  }

  private static func checkNames(_ entries: [Entry]) throws {
    var names: Set<String> = []
    for entry in entries where !names.insert(entry.name).inserted {
      throw ModelError.malformed("two tensors have this name", tensor: entry.name)
    }
  }

  private static func checkOverlaps(_ entries: [Entry]) throws {
    var end = 0
    for entry in entries.sorted(by: { $0.offset < $1.offset }) {
      guard let byteCount = entry.byteCount, byteCount > 0 else { continue }
      guard entry.offset >= end else {
        throw ModelError.malformed(
          "its bytes overlap those of another tensor", tensor: entry.name, offset: entry.offset)
      }
      end = entry.offset + byteCount  // inside the file, as checked before
    }
  }
}

extension GGUFHeader {
  /// Returns the location of a tensor's bytes in the file; those of a type of unknown width end
  /// where the next tensor's begin.
  func storedRange(of entry: Entry, in file: InputFile) -> Range<Int> {
    if let byteCount = entry.byteCount { return entry.offset..<entry.offset + byteCount }
    let next = entries.lazy.map(\.offset).filter { $0 > entry.offset }.min()
    return entry.offset..<max(entry.offset, next ?? file.byteCount)
  }

  /// The place of the file in a split model; `nil` for a file that is a whole model.
  var split: Split? { Split(metadata.values) }

  /// The place of a file in a model that is split over several.
  struct Split: Sendable {
    static let keys: Set<String> = ["split.no", "split.count", "split.tensors.count"]
    /// The most files, which the type of the count allows.
    static let countLimit = 65_535

    /// The file's number, from 0.
    let number: Int
    /// The number of files, at least 2.
    let count: Int
    /// The number of tensors in all files, if the file says it.
    let tensorCount: Int?

    init(number: Int, count: Int, tensorCount: Int?) {
      (self.number, self.count, self.tensorCount) = (number, count, tensorCount)
    }

    /// - Returns: `nil` when there are no such counts, or no number below the count.
    fileprivate init?(_ values: OrderedDictionary<String, ArchiveValue>) {
      guard case .integer(let count)? = values["split.count"],
        (2...Self.countLimit).contains(count),
        case .integer(let number) = values["split.no"] ?? .integer(0),
        (0..<count).contains(number)
      else { return nil }
      self.count = count
      self.number = number
      if case .integer(let count)? = values["split.tensors.count"] {
        tensorCount = count
      } else {
        tensorCount = nil
      }
    }
  }

  /// The names that tensors had before they were shortened for ggml, by their names in the file.
  var fullNames: [String: String] {
    guard case .text(let text)? = metadata.values[ExportMetadata.key] else { return [:] }
    let names = ExportMetadata.fullNames(in: text)
    let own = Set(entries.map(\.name))
    // The file's own names override anything else that the entry lists.
    return names.filter { short, full in
      own.contains(short) && !own.contains(full) && GGUFName(full).stored == short
    }
  }
}

extension GGUFHeader {
  /// A tensor as the header describes it.
  private struct Description {
    let name: String
    let shape: Shape
    let type: GGUFTensorType
    /// The offset from the start of the data.
    let offset: UInt64

    init(parsing reader: inout ByteReader) throws {
      let name = try reader.readGGUFString(limit: nameByteCountLimit, for: "a tensor's name")
      self.name = name
      let start = reader.fileOffset
      let rank = try reader.readInteger(UInt32.self, for: "the number of axes")
      guard rank <= rankLimit else {
        throw ModelError(
          .limitExceeded(what: "the axes of a tensor", limit: rankLimit, found: "\(rank)"),
          tensor: name, offset: start)
      }
      let dimensions = try (0..<rank).map { _ in
        try locatingErrors(tensor: name) { try reader.readCount(UInt64.self, for: "a dimension") }
      }
      guard let shape = Shape(dimensions.reversed()) else {
        throw ModelError.malformed(
          "the dimensions \(dimensions) have more than 2^63 elements", tensor: name, offset: start)
      }
      self.shape = shape
      type = GGUFTensorType(number: try reader.readInteger(for: "a tensor's type"))
      offset = try reader.readInteger(for: "a tensor's offset")
    }

    func entry(dataOffset: Int, alignment: Int, fileByteCount: Int) throws -> Entry {
      guard offset.isMultiple(of: UInt64(alignment)) else {
        throw ModelError.mismatch(
          expected: "an offset that is a multiple of \(alignment)", found: "\(offset)")
      }
      let byteCount = try storedByteCount()
      let available = max(0, fileByteCount - dataOffset)
      guard let relative = Int(exactly: offset), relative <= available,
        (byteCount ?? 0) <= available - relative
      else {
        throw ModelError(
          .truncated(
            expectedBytes: byteCount ?? 0,
            foundBytes: Int(exactly: offset).map { max(0, available - $0) } ?? 0,
            purpose: "\(type.name) \(shape)"))
      }
      return Entry(
        name: name, type: type, shape: shape, offset: dataOffset + relative, byteCount: byteCount)
    }

    private func storedByteCount() throws -> Int? {
      guard let block = type.block else { return nil }
      let rowLength = shape.dimensions.last ?? 1
      guard rowLength.isMultiple(of: block.elementCount) else {
        throw ModelError.mismatch(
          expected: "\(type.name) rows of a multiple of \(block.elementCount) elements",
          found: "\(rowLength)")
      }
      let blockCount = shape.elementCount / block.elementCount
      let (byteCount, overflow) = blockCount.multipliedReportingOverflow(by: block.byteCount)
      guard !overflow else {
        throw ModelError.malformed("\(type.name) \(shape) is more than 2^63 bytes")
      }
      return byteCount
    }
  }
}

/// The key-value pairs of a GGUF file: single values, and arrays as JSON text.
struct GGUFMetadata: Sendable {
  static let pairCountLimit = 100_000
  static let keyByteCountLimit = 65_535
  /// The most elements of one array; the largest vocabularies have a million.
  static let arrayCountLimit = 1 << 22
  static let arrayDepthLimit = 4

  private(set) var values: OrderedDictionary<String, ArchiveValue> = [:]
  /// The arrays as JSON text, with elements in the form of `ArchiveValue.json`.
  private(set) var arrays: OrderedDictionary<String, String> = [:]

  /// The alignment of tensors' offsets.
  private(set) var alignment = 32

  private enum ValueType: UInt32 {
    case uint8, int8, uint16, int16, uint32, int32, float32, bool, string, array, uint64, int64
    case float64

    /// The minimum byte count of a value in the file.
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

  /// Parses the pairs.
  ///
  /// - Throws: `ModelError` with the offset of the error.
  init(parsing reader: inout ByteReader, pairCount: Int) throws {
    for _ in 0..<pairCount {
      let start = reader.fileOffset
      let key = try reader.readGGUFString(limit: Self.keyByteCountLimit, for: "a metadata key")
      guard values[key] == nil, arrays[key] == nil else {
        throw ModelError.malformed("the metadata key '\(key)' occurs twice", offset: start)
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
      throw ModelError.mismatch(
        expected: "'general.alignment' to be a power of two up to 2^30",
        found: value?.description ?? "an array", offset: offset)
    }
    self.alignment = alignment
  }

  private static func readType(_ reader: inout ByteReader) throws -> ValueType {
    let start = reader.fileOffset
    let number = try reader.readInteger(UInt32.self, for: "a metadata type")
    guard let type = ValueType(rawValue: number) else {
      throw ModelError.mismatch(
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
        throw ModelError.mismatch(
          expected: "a Boolean of 0 or 1", found: "\(byte)", offset: start)
      }
      return .boolean(byte == 1)
    case .string: return .text(try reader.readGGUFString(limit: .max, for: purpose))
    case .array: preconditionFailure("arrays are read by readArray")
    }
  }

  private static func readArray(_ reader: inout ByteReader, depth: Int) throws -> JSONValue {
    let start = reader.fileOffset
    guard depth <= arrayDepthLimit else {
      throw ModelError(
        .limitExceeded(
          what: "the nesting of metadata arrays", limit: arrayDepthLimit, found: "\(depth)"),
        offset: start)
    }
    let type = try readType(&reader)
    let count = try reader.readCount(UInt64.self, for: "an array's length")
    guard count <= arrayCountLimit else {
      throw ModelError(
        .limitExceeded(
          what: "the elements of a metadata array", limit: arrayCountLimit, found: "\(count)"),
        offset: start)
    }
    guard count <= reader.remaining / type.leastByteCount else {
      throw ModelError(
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
  /// Reads an 8-byte length and that many bytes of UTF-8.
  mutating func readGGUFString(limit: Int, for purpose: String) throws -> String {
    let start = fileOffset
    let count = try readCount(UInt64.self, for: "the length of \(purpose)")
    guard count <= limit else {
      throw ModelError(
        .limitExceeded(what: "\(purpose) in bytes", limit: limit, found: "\(count)"),
        offset: start)
    }
    return try readUTF8(count, for: purpose)
  }
}
