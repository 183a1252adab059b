import OrderedCollections
import Storage

/// Hugging Face's safetensors: a JSON header that names the tensors, then their bytes.
///
/// What is written equals, byte for byte, what the `safetensors` package 0.8 writes for the same
/// tensors and metadata. Values that are not tensors are kept under one name in `__metadata__`, and
/// what comes from another format is marked `{"format": "pt"}`, as Transformers asks for.
public struct SafetensorsFormat: ModelFormat {
  public init() {}

  public var identifier: FormatIdentifier {
    FormatIdentifier(
      name: "safetensors", displayName: "safetensors", fileExtensions: ["safetensors"])
  }

  /// The `__metadata__` entry that holds `TensorArchive.values`, as the text of a JSON object.
  static let valuesKey = "condi.values"

  /// The `__metadata__` entry that names the framework a file is for, by which Transformers decides
  /// whether it loads one.
  static let frameworkKey = "format"

  /// Header lengths below 2^40, to tell a header that is too long from another format's file.
  public func recognizes(_ file: InputFile) -> Bool {
    guard let head = try? file.bytes(at: 0, count: 9, purpose: "the signature").array else {
      return false
    }
    return head[8] == UInt8(ascii: "{") && head[5...7].allSatisfy { $0 == 0 }
  }

  /// Tensors are in the order of their data; those without bytes, in the order of the header.
  public func read(_ file: InputFile) throws -> TensorArchive {
    try locatingErrors(path: file.path) {
      let header = try SafetensorsHeader(reading: file)
      var archive = TensorArchive(format: identifier, metadata: header.metadata)
      for entry in header.entries {
        archive.tensors[entry.name] = try locatingErrors(tensor: entry.name) {
          let offset = header.dataOffset + entry.dataOffsets.lowerBound
          let purpose = "\(entry.elementType) \(entry.shape)"
          return try Tensor(elementType: entry.elementType, shape: entry.shape) {
            try locatingErrors(tensor: entry.name) {
              try file.bytes(at: offset, count: entry.dataOffsets.count, purpose: purpose)
            }
          }
        }
      }
      if let text = archive.metadata.removeValue(forKey: Self.valuesKey) {
        archive.values = try Self.decodeValues(text)
      }
      return archive
    }
  }

  public func write(
    _ archive: TensorArchive, to writer: inout AtomicFileWriter, progress: WriteProgress?
  ) throws {
    let file = try SafetensorsWriter(archive)
    try writer.preallocate(byteCount: file.recordsEnd)
    for piece in try file.pieces(checksums: []) {
      try writer.placement.write(piece.bytes, at: piece.offset)
    }
    for (index, record) in file.records.enumerated() {
      try writer.placement.write(try file.record(at: index), at: record.offset)
      progress?(record.name, record.byteCount)
    }
    try writer.advance(to: file.recordsEnd)
  }

  private static func decodeValues(_ text: String) throws
    -> OrderedDictionary<String, ArchiveValue>
  {
    do {
      guard case .object(let members) = try JSONDocument.parse(SharedBytes(text.utf8)) else {
        throw ModelError.malformed("not a JSON object")
      }
      return try members.mapValues { try ArchiveValue(json: $0) }
    } catch let error as ModelError {
      throw ModelError.malformed("the metadata entry '\(valuesKey)': \(error.problem)")
    }
  }
}

/// A safetensors file whose every tensor has its place: header first, then tensor after tensor.
package struct SafetensorsWriter: PlacedFile {
  private let head: [UInt8]
  private let entries: [SafetensorsHeader.Entry]
  private let archive: TensorArchive

  /// Plans the file of `archive`.
  ///
  /// - Throws: `ModelError` for what safetensors cannot hold.
  package init(_ archive: TensorArchive) throws {
    var metadata = archive.metadata
    guard metadata[SafetensorsFormat.valuesKey] == nil else {
      throw ModelError.unsupported(
        "the metadata name '\(SafetensorsFormat.valuesKey)' is reserved")
    }
    if !archive.values.isEmpty {
      let values = JSONValue.object(archive.values.mapValues(\.json))
      try values.checkKeys()
      metadata[SafetensorsFormat.valuesKey] = values.serialized()
    }
    // Transformers 4 refuses files that do not say whose tensors they hold. What is in safetensors
    // already keeps what it says, or does not.
    if metadata[SafetensorsFormat.frameworkKey] == nil, let format = archive.format,
      format != SafetensorsFormat().identifier
    {
      metadata[SafetensorsFormat.frameworkKey] = "pt"
    }
    self.archive = archive
    entries = try SafetensorsHeader.layout(of: archive.tensors)
    head = try SafetensorsHeader.encode(entries, metadata: metadata)
  }

  package var records: [PlacedRecord] {
    entries.map { entry in
      PlacedRecord(
        name: entry.name, names: [entry.name], offset: head.count + entry.dataOffsets.lowerBound,
        byteCount: entry.dataOffsets.count, sourceByteCount: entry.dataOffsets.count)
    }
  }

  package var recordsEnd: Int { head.count + (entries.last?.dataOffsets.upperBound ?? 0) }

  package func record(at index: Int) throws -> SharedBytes {
    let entry = entries[index]
    return try locatingErrors(tensor: entry.name) {
      try archive.tensors[entry.name]?.bytes() ?? SharedBytes()
    }
  }

  package func pieces(checksums: [UInt32]) throws -> [PlacedPiece] {
    [PlacedPiece(offset: 0, bytes: SharedBytes(head))]
  }

  /// What the file holds, in the form of a packed file's header: every record is raw, in the order of
  /// the file.
  package func header(producer: String) -> PackedHeader {
    var header = PackedHeader(producer: producer)
    header.metadata = archive.metadata
    header.values = archive.values
    for (record, entry) in zip(records, entries) {
      header.names[record.name] = header.entries.count
      header.entries.append(
        PackedEntry(
          name: record.name, elementType: entry.elementType, shape: entry.shape, role: .parameter,
          encoding: .raw, inflatedByteCount: nil, offset: record.offset,
          byteCount: record.byteCount, checksum: 0))
    }
    return header
  }
}
