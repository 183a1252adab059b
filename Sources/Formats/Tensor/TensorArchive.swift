import OrderedCollections

/// What a model file holds: named tensors in file order, the other leaves, and the nesting.
///
/// Reading a file makes an archive from the file's index alone; tensors load their bytes when
/// asked. Writers take an archive, so converting is reading and writing, tensor by tensor.
public struct TensorArchive: Sendable {
  /// The format it was read from; `nil` when made in memory.
  public var format: FormatIdentifier?
  /// Every tensor under its full name; nested names are joined by dots.
  public var tensors: OrderedDictionary<String, Tensor>
  /// Every other leaf (numbers, texts, flags) under its full name.
  public var values: OrderedDictionary<String, ArchiveValue>
  /// Free text about the file as a whole, such as safetensors' `__metadata__`.
  public var metadata: OrderedDictionary<String, String>
  /// The nesting, for formats that have it.
  public var structure: ArchiveStructure?
  /// What the reader did that a user should know of: one sentence each, without an end.
  public var notes: [String]
  /// What was left out when the file was read, in the file's order.
  public var unread: [UnreadEntry] = []
  /// Stored tensors that belong together, and whether they were put together; filled in by
  /// `assembled(configuration:)`.
  public var groups: [TensorGroup] = []
  /// Bytes of the parts of each tensor that was put together, by its name.
  package var storedByteCounts: [String: Int] = [:]
  /// Dictionaries that a PyTorch module gave as its whole state, by their place; empty for the root.
  package var stateDictionaries: Set<String> = []
  /// Whether the archive is all that a PyTorch module has for its state, or a part of that, so that what
  /// is not there does not exist.
  package var isWholeStateDictionary: Bool { stateDictionaries.contains("") }
  /// Paths of every file that the archive was read from, the one that was opened first; empty when
  /// made in memory.
  package var sourceFiles: [String] = []
  /// The file that each tensor lies in, by name, where the archive has several.
  package var fileOfTensor: [String: String] = [:]
  /// How activations are rounded when the model runs; only packed files have such quantizers.
  public var activations: [ActivationQuantizer] = []
  /// How small the file is, where the archive was read from a packed one.
  public var packedSummary: PackedSummary?
  /// The part of its source that a packed file holds; `nil` for the whole of it.
  package var sourceRoot: String?

  public init(
    format: FormatIdentifier? = nil, tensors: OrderedDictionary<String, Tensor> = [:],
    values: OrderedDictionary<String, ArchiveValue> = [:],
    metadata: OrderedDictionary<String, String> = [:], structure: ArchiveStructure? = nil,
    notes: [String] = []
  ) {
    self.format = format
    self.tensors = tensors
    self.values = values
    self.metadata = metadata
    self.structure = structure
    self.notes = notes
  }

  /// Bytes of all tensors, each counted as often as it is named.
  public var tensorByteCount: Int { tensors.values.reduce(0) { $0 + $1.byteCount } }
}
