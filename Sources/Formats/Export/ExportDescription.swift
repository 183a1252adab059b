import OrderedCollections
import Storage

/// The content of a packed file other than its tensors, for the exported file's metadata.
struct ExportDescription: Sendable {
  /// The metadata entry that describes the export.
  static let key = ExportMetadata.key

  var metadata: OrderedDictionary<String, String>
  var values: OrderedDictionary<String, ArchiveValue>
  /// The original row lengths of tensors whose rows were padded.
  var columnsBeforePadding: OrderedDictionary<String, Int> = [:]
  /// The full names of tensors whose names were shortened, by their names in the file.
  var fullNames: OrderedDictionary<String, String> = [:]
  /// The parameters of quantized tensors, by name.
  var quantization: OrderedDictionary<String, JSONValue> = [:]
  var activations: [ActivationQuantizer]

  init(_ header: PackedHeader) {
    metadata = header.metadata
    values = header.values
    activations = header.activations
    for (name, index) in header.names {
      let entry = header.entries[index]
      guard case .affine(let affine) = entry.encoding else { continue }
      quantization[name] = .object([
        "bits": .integer(affine.bitWidth),
        "granularity": .string("\(affine.layout.granularity)"),
        "parts": .integer(affine.layout.parts),
        "type": .string(entry.elementType.rawValue),
      ])
    }
  }

  /// The entry under `key`.
  var json: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = ["producer": .string(Producer.current)]
    if !columnsBeforePadding.isEmpty {
      members["columns"] = .object(columnsBeforePadding.mapValues(JSONValue.integer))
    }
    if !fullNames.isEmpty {
      members["names"] = .object(fullNames.mapValues(JSONValue.string))
    }
    if !quantization.isEmpty { members["quantization"] = .object(quantization) }
    if !activations.isEmpty {
      members["activations"] = .array(activations.map(\.json))
    }
    return .object(members)
  }

  /// Facts about the packed file that an exported file keeps only in its metadata.
  struct Origin: Sendable {
    var columnsBeforePadding: [String: Int] = [:]
    var activations: [ActivationQuantizer] = []
  }

  /// Returns the origin of an exported file; an empty one for files of other programs.
  ///
  /// - Throws: `ModelError` when the entry differs from what `json` writes.
  static func origin(in metadata: OrderedDictionary<String, String>) throws -> Origin {
    var origin = Origin()
    guard let text = metadata[key] else { return origin }
    var members = try JSONObjectReader(
      JSONDocument.parse(SharedBytes(text.utf8)), path: "metadata.\(key)")
    _ = try members.object("columns") { columns in
      for name in columns.remaining.keys {
        origin.columnsBeforePadding[name] = try columns.count(name)
      }
    }
    origin.activations = try ActivationQuantizer.list(&members)
    return origin
  }

  /// Returns the description as texts, without the values.
  func texts() throws -> OrderedDictionary<String, String> {
    var texts = metadata
    guard texts[Self.key] == nil else {
      throw ModelError.unsupported("the metadata name '\(Self.key)' is reserved")
    }
    let json = json
    try json.checkKeys()
    texts[Self.key] = json.serialized()
    return texts
  }

  /// Returns the description as texts, with the values under the name used in safetensors files.
  func textsWithValues() throws -> OrderedDictionary<String, String> {
    var texts = try texts()
    guard !values.isEmpty else { return texts }
    guard texts[SafetensorsFormat.valuesKey] == nil else {
      throw ModelError.unsupported(
        "the metadata name '\(SafetensorsFormat.valuesKey)' is reserved")
    }
    let json = JSONValue.object(values.mapValues(\.json))
    try json.checkKeys()
    texts[SafetensorsFormat.valuesKey] = json.serialized()
    return texts
  }
}
