/// The index of a GGUF file: its metadata, and where its tensors lie.
struct GGUFHeader: Sendable {
  struct Entry: Sendable {
    let name: String
    let type: GGUFTensorType
    /// Row-major: the file's dimensions in reverse order.
    let shape: Shape
    /// In the file.
    let offset: Int
    /// As stored; `nil` for types of unknown width.
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

  /// - Throws: `FormatError` for anything that the format's rules do not allow.
  init(reading file: InputFile) throws {
    // The header's length stands nowhere: what is not mapped is read in growing pieces.
    var byteCount = file.access == .mapped ? file.byteCount : min(1 << 20, file.byteCount)
    while true {
      do {
        let bytes = try file.bytes(at: 0, count: byteCount, purpose: "the header")
        self = try GGUFHeader(parsing: bytes, fileByteCount: file.byteCount)
        return
      } catch let error as FormatError {
        guard case .truncated = error.problem, byteCount < file.byteCount else { throw error }
        byteCount = min(byteCount * 4, file.byteCount)
      }
    }
  }

  private init(parsing bytes: SharedBytes, fileByteCount: Int) throws {
    var reader = ByteReader(bytes)
    guard try reader.read(Self.magic.count, for: "the signature").array == Self.magic else {
      throw FormatError.malformed("not a GGUF file", offset: 0)
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
      throw FormatError.unsupported("big-endian GGUF files are not supported", offset: 4)
    }
    guard versions.contains(version) else {
      throw FormatError.unsupported(
        "GGUF version \(version) is not supported; 2 and 3 are", offset: 4)
    }
  }

  private static func readCount(_ reader: inout ByteReader, of what: String, limit: Int) throws
    -> Int
  {
    let start = reader.fileOffset
    let count = try reader.readInteger(UInt64.self, for: "the number of \(what)")
    guard count <= limit else {
      throw FormatError(
        .limitExceeded(what: "the number of \(what)", limit: limit, found: "\(count)"),
        offset: start)
    }
    return Int(count)
  }

  private static func checkNames(_ entries: [Entry]) throws {
    var names: Set<String> = []
    for entry in entries where !names.insert(entry.name).inserted {
      throw FormatError.malformed("two tensors have this name", tensor: entry.name)
    }
  }

  private static func checkOverlaps(_ entries: [Entry]) throws {
    var end = 0
    for entry in entries.sorted(by: { $0.offset < $1.offset }) {
      guard let byteCount = entry.byteCount, byteCount > 0 else { continue }
      guard entry.offset >= end else {
        throw FormatError.malformed(
          "its bytes overlap those of another tensor", tensor: entry.name, offset: entry.offset)
      }
      end = entry.offset + byteCount  // inside the file: it was checked
    }
  }
}

extension GGUFHeader {
  /// Where a tensor's bytes lie in the file; those of a type of unknown width end where the next
  /// tensor's begin.
  func storedRange(of entry: Entry, in file: InputFile) -> Range<Int> {
    if let byteCount = entry.byteCount { return entry.offset..<entry.offset + byteCount }
    let next = entries.lazy.map(\.offset).filter { $0 > entry.offset }.min()
    return entry.offset..<max(entry.offset, next ?? file.byteCount)
  }

  /// The names that tensors had before they were shortened for ggml, by their names in the file.
  var fullNames: [String: String] {
    guard case .text(let text)? = metadata.values[ExportDescription.key] else { return [:] }
    let names = ExportDescription.fullNames(in: text)
    let own = Set(entries.map(\.name))
    // Whatever else is said there, the file is right.
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
    /// Counted from the start of the data.
    let offset: UInt64

    init(parsing reader: inout ByteReader) throws {
      let name = try reader.readGGUFString(limit: nameByteCountLimit, for: "a tensor's name")
      self.name = name
      let start = reader.fileOffset
      let rank = try reader.readInteger(UInt32.self, for: "the number of axes")
      guard rank <= rankLimit else {
        throw FormatError(
          .limitExceeded(what: "the axes of a tensor", limit: rankLimit, found: "\(rank)"),
          tensor: name, offset: start)
      }
      let dimensions = try (0..<rank).map { _ in
        try locatingErrors(tensor: name) { try reader.readCount(UInt64.self, for: "a dimension") }
      }
      guard let shape = Shape(dimensions.reversed()) else {
        throw FormatError.malformed(
          "the dimensions \(dimensions) have more than 2^63 elements", tensor: name, offset: start)
      }
      self.shape = shape
      type = GGUFTensorType(number: try reader.readInteger(for: "a tensor's type"))
      offset = try reader.readInteger(for: "a tensor's offset")
    }

    func entry(dataOffset: Int, alignment: Int, fileByteCount: Int) throws -> Entry {
      guard offset.isMultiple(of: UInt64(alignment)) else {
        throw FormatError.mismatch(
          expected: "an offset that is a multiple of \(alignment)", found: "\(offset)")
      }
      let byteCount = try storedByteCount()
      let available = max(0, fileByteCount - dataOffset)
      guard let relative = Int(exactly: offset), relative <= available,
        (byteCount ?? 0) <= available - relative
      else {
        throw FormatError(
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
        throw FormatError.mismatch(
          expected: "\(type.name) rows of a multiple of \(block.elementCount) elements",
          found: "\(rowLength)")
      }
      let blockCount = shape.elementCount / block.elementCount
      let (byteCount, overflow) = blockCount.multipliedReportingOverflow(by: block.byteCount)
      guard !overflow else {
        throw FormatError.malformed("\(type.name) \(shape) is more than 2^63 bytes")
      }
      return byteCount
    }
  }
}
