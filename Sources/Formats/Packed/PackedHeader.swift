import OrderedCollections
import Storage

/// The JSON header of a packed file.
///
/// ```swift
/// let header = try PackedModel(parsing: InputFile(path: "model.condi")).header
/// print(header.producer, header.source?.format ?? "unknown source")
/// if let recipe = header.recipe { print(recipe.serialized(pretty: true)) }
/// ```
public struct PackedHeader: Sendable {
  /// The program and version that wrote the file.
  public var producer: String
  /// The file that was packed; `nil` if it is not recorded.
  public var source: Source?
  /// The requested recipe in canonical form.
  public var recipe: JSONValue?
  /// The source's texts, in its order.
  public var metadata: OrderedDictionary<String, String> = [:]
  /// The source's values other than tensors, in its order.
  public var values: OrderedDictionary<String, ArchiveValue> = [:]
  /// How activations are quantized; empty when they are not.
  public var activations: [ActivationQuantizer] = []
  /// The names of full-precision tensors that quantization changed, such as corrected biases; all
  /// other kept tensors have the source's bits.
  package var adjustedNames: [String] = []
  /// Every tensor that has a record, in the order of the records.
  public var entries: [PackedEntry] = []
  /// Every name in the archive's order, with the index of its entry; several names may share an
  /// entry.
  package var names: OrderedDictionary<String, Int> = [:]
  /// Members that this version does not know, kept for rewriting.
  var unknownMembers: OrderedDictionary<String, JSONValue> = [:]

  /// Creates a header without tensors.
  public init(producer: String) {
    self.producer = producer
  }

  /// The origin of the tensors.
  public struct Source: Hashable, Sendable {
    /// The name of the source's format, such as `pytorch`.
    public var format: String
    /// The source's length.
    public var byteCount: Int
    /// The source's SHA-256 in lower-case hexadecimal; for several files, that of the list of their
    /// digests.
    public var sha256: String
    /// The bytes of the tensors taken from it, each counted once per name.
    public var tensorByteCount: Int
    /// The part of a nested checkpoint that was taken; `nil` for all of it.
    public var root: String?
    /// Whether it is the whole state of a PyTorch module, so that buffers missing here do not
    /// exist.
    public var isWholeState = false
    /// The edits that were made before packing; `nil` without edits.
    public var edits: ArchiveEdits?

    public init(
      format: String, byteCount: Int, sha256: String, tensorByteCount: Int, root: String?
    ) {
      self.format = format
      self.byteCount = byteCount
      self.sha256 = sha256
      self.tensorByteCount = tensorByteCount
      self.root = root
    }

    /// Describes the source of `archive`.
    ///
    /// - Parameters:
    ///   - root: the part of a nested checkpoint that the archive holds.
    ///   - run: computes the digests of its files.
    /// - Throws: `ModelError` when one of its files can no longer be read.
    public init(
      _ archive: TensorArchive, root: String?,
      runningTasks run: TaskRunner = sequentially
    ) throws {
      self.init(
        format: archive.format?.name ?? "unknown", byteCount: try archive.sourceByteCount(),
        sha256: try archive.sourceSHA256(runningTasks: run),
        tensorByteCount: archive.tensors.reduce(0) { sum, tensor in
          sum + (archive.storedByteCounts[tensor.key] ?? tensor.value.byteCount)
        }, root: root)
      isWholeState = archive.isWholeStateDictionary
      edits = archive.edits
    }
  }
}

extension PackedHeader {
  /// The header as JSON, in one canonical order of members.
  package var json: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = [
      "format": .string("condi"),
      "producer": .string(producer),
    ]
    members["source"] = source?.json
    members["recipe"] = recipe
    if !metadata.isEmpty { members["metadata"] = .object(metadata.mapValues { .string($0) }) }
    if !values.isEmpty { members["values"] = .object(values.mapValues(\.json)) }
    if !activations.isEmpty { members["activations"] = .array(activations.map(\.json)) }
    if !adjustedNames.isEmpty { members["adjusted"] = .array(adjustedNames.map { .string($0) }) }
    for (name, value) in unknownMembers { members[name] = value }
    members["tensors"] = .array(
      names.map { name, index in
        entries[index].name == name
          ? entries[index].json
          : .object(["name": .string(name), "sharesWith": .string(entries[index].name)])
      })
    return .object(members)
  }
}

extension PackedHeader.Source {
  fileprivate var json: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = [
      "format": .string(format),
      "byteCount": .integer(byteCount),
      "sha256": .string(sha256),
      "tensorByteCount": .integer(tensorByteCount),
    ]
    members["root"] = root.map { .string($0) }
    if isWholeState { members["isWholeState"] = .boolean(true) }
    members["edits"] = edits?.json
    return .object(members)
  }
}

extension ActivationQuantizer {
  var json: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = [
      "name": .string(name),
      "bits": .integer(bitWidth),
      "lower": .number(Double(lower)),
      "upper": .number(Double(upper)),
    ]
    if scaling != .tensor { members["scaling"] = .string(scaling.rawValue) }
    if isNormalized { members["normalized"] = .boolean(true) }
    return .object(members)
  }
}

extension PackedEntry {
  fileprivate var json: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = [
      "name": .string(name),
      "type": .string(elementType.rawValue),
      "shape": .array(shape.dimensions.map { .integer($0) }),
      "role": .string(role.rawValue),
    ]
    members.merge(encoding.members) { first, _ in first }
    if let inflatedByteCount {
      members["compression"] = .string("zlib")
      members["encodedBytes"] = .integer(inflatedByteCount)
    }
    members["offset"] = .integer(offset)
    members["bytes"] = .integer(byteCount)
    let digits = String(checksum, radix: 16)
    members["crc32"] = .string(String(repeating: "0", count: 8 - digits.count) + digits)
    return .object(members)
  }
}

extension PackedEncoding {
  fileprivate var members: OrderedDictionary<String, JSONValue> {
    switch self {
    case .raw:
      return ["encoding": .string("raw")]
    case .affine(let affine):
      var members: OrderedDictionary<String, JSONValue> = [
        "encoding": .string("affine"),
        "bits": .integer(affine.bitWidth),
        "granularity": .string(affine.layout.granularity.description),
      ]
      if affine.layout.parts > 1 { members["parts"] = .integer(affine.layout.parts) }
      if affine.parameterType != .float32 {
        members["parameters"] = .string(affine.parameterType.rawValue)
      }
      return members
    case .palette(let distinctCount):
      return [
        "encoding": .string("palette"),
        "bits": .integer(Self.paletteBitWidth(distinctCount)),
        "distinct": .integer(distinctCount),
      ]
    case .integer(let base, let bitWidth):
      return [
        "encoding": .string("integer"),
        "bits": .integer(bitWidth),
        "base": .integer(base),
      ]
    }
  }
}

/// The prologue of a file whose header is lost. It holds the header's checksum, and the header
/// holds those of all records, so a file with an equal prologue is the same file.
package struct PackedHeaderProof: Hashable, Sendable {
  private let prologue: [UInt8]

  init(_ prologue: PackedPrologue) {
    self.prologue = prologue.bytes
  }

  /// - Throws: `ModelError` when `other` is another file's prologue.
  func check(_ other: PackedPrologue) throws {
    guard prologue == other.bytes else {
      throw ModelError.malformed(
        "packing gives a file whose header does not match the prologue: the recipe, its settings, "
          + "the source or the program's version differ")
    }
  }
}
