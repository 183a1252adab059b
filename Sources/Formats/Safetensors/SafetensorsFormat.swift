import OrderedCollections
import Storage

/// Hugging Face's safetensors: a JSON header that names the tensors, then their bytes.
///
/// The output equals, byte for byte, that of the `safetensors` package 0.8 for the same tensors and
/// metadata. Values that are not tensors are kept under one name in `__metadata__`, and archives
/// from other formats are marked `{"format": "pt"}`, as Transformers requires.
///
/// ```swift
/// var archive = try FormatRegistry.standard.open("model.pth")
/// archive.metadata["license"] = "Apache-2.0"
/// try FormatRegistry.standard.write(archive, as: SafetensorsFormat(), to: "model.safetensors")
/// ```
public struct SafetensorsFormat: ModelFormat {
  public init() {}

  public var identifier: FormatIdentifier {
    FormatIdentifier(
      name: "safetensors", displayName: "safetensors", fileExtensions: ["safetensors"])
  }
  public var isFreeOfCode: Bool { true }

  /// The `__metadata__` entry that holds `TensorArchive.values`, as the text of a JSON object.
  static let valuesKey = "condi.values"

  /// The `__metadata__` entry that names a file's framework, by which Transformers decides whether
  /// to load it.
  static let frameworkKey = "format"

  /// Whether a JSON object follows a header length below 2^40. Lengths above the format's limit are
  /// included, to tell a header that is too long from another format's file.
  public func recognizes(_ file: InputFile) -> Bool {
    guard let head = try? file.bytes(at: 0, count: 9, purpose: "the signature").array else {
      return false
    }
    return head[8] == UInt8(ascii: "{") && head[5...7].allSatisfy { $0 == 0 }
  }

  /// Reads the tensors in the order of their data; those without bytes are in the header's order.
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

  public func plan(
    _ archive: TensorArchive, runningTasks run: TaskRunner
  ) throws -> PlannedFile<Never> {
    let entries = try SafetensorsHeader.layout(of: archive.tensors)
    let head = SharedBytes(
      try SafetensorsHeader.encode(entries, metadata: try Self.metadata(of: archive)))
    let records = entries.map { entry in
      PlannedRecord<Never>(
        name: entry.name, names: [entry.name], offset: head.count + entry.dataOffsets.lowerBound,
        byteCount: entry.dataOffsets.count, sourceByteCount: entry.dataOffsets.count
      ) { [tensor = archive.tensors[entry.name]] in
        MadeRecord(try tensor?.bytes() ?? SharedBytes())
      }
    }
    return PlannedFile(
      records, recordsEnd: head.count + (entries.last?.dataOffsets.upperBound ?? 0)
    ) { _ in [FilePiece(offset: 0, bytes: head)] }
  }

  /// Returns the texts of `__metadata__`.
  private static func metadata(
    of archive: TensorArchive
  ) throws -> OrderedDictionary<String, String> {
    var metadata = archive.metadata
    guard metadata[valuesKey] == nil else {
      throw ModelError.unsupported("the metadata name '\(valuesKey)' is reserved")
    }
    if !archive.values.isEmpty {
      let values = JSONValue.object(archive.values.mapValues(\.json))
      try values.checkKeys()
      metadata[valuesKey] = values.serialized()
    }
    // Transformers 4 rejects files that do not name a framework. A file that comes from safetensors
    // keeps its metadata as it is.
    if metadata[frameworkKey] == nil, let format = archive.format,
      format != SafetensorsFormat().identifier
    {
      metadata[frameworkKey] = "pt"
    }
    return metadata
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
