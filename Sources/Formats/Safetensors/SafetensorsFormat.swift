import OrderedCollections

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
        throw FormatError.malformed("not a JSON object")
      }
      return try members.mapValues { try ArchiveValue(json: $0) }
    } catch let error as FormatError {
      throw FormatError.malformed("the metadata entry '\(valuesKey)': \(error.problem)")
    }
  }
}
