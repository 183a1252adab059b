import Glibc
import OrderedCollections
import Storage
import Synchronization

/// The content of a model file: named tensors in file order, the other leaves, and the nesting.
///
/// Reading a file builds an archive from the file's index alone; tensors load their bytes on
/// request. Writers take an archive, so conversion means reading and writing tensor by tensor.
///
/// ```swift
/// var archive = try FormatRegistry.standard.open("checkpoint.pth")
/// if let root = archive.conventionalRoot { archive = try archive.selecting(root: root) }
/// for (name, tensor) in archive.tensors where tensor.elementType.isFloatingPoint {
///   print(name, tensor.shape, try tensor.floatValues().max() ?? 0)
/// }
/// ```
public struct TensorArchive: Sendable {
  /// The format that the archive was read from; `nil` if it was made in memory.
  public var format: FormatIdentifier?
  /// Every tensor under its full name; the components of nested names are joined by dots.
  public var tensors: OrderedDictionary<String, Tensor>
  /// Every other leaf (number, string, Boolean) under its full name.
  public var values: OrderedDictionary<String, ArchiveValue>
  /// Free text about the file as a whole, such as safetensors' `__metadata__`.
  public var metadata: OrderedDictionary<String, String>
  /// The nesting, for formats that have it.
  public var structure: ArchiveStructure?
  /// Notes for the user on decisions of the reader: one sentence each, without a full stop.
  public var notes: [String]
  /// The entries that were left out when the file was read, in the file's order.
  public var unread: [UnreadEntry] = []
  /// Stored tensors that belong together, and whether they were assembled; filled in by
  /// `assembled(configuration:)`.
  public var groups: [TensorGroup] = []
  /// The byte counts of the parts of each assembled tensor, by its name.
  package var storedByteCounts: [String: Int] = [:]
  /// The names of dictionaries that are the whole state of a PyTorch module; empty for the root.
  package var stateDictionaries: Set<String> = []
  /// Whether the archive is the whole state of a PyTorch module, or a part of it, so that a missing
  /// tensor does not exist.
  package var isWholeStateDictionary: Bool { stateDictionaries.contains("") }
  /// The paths of all files that the archive was read from, starting with the one that was opened;
  /// empty if it was made in memory.
  package var sourceFiles: [String] = []
  /// The file of each tensor, by name, if the archive has several files.
  package var fileOfTensor: [String: String] = [:]
  /// The edits that this archive has and its files do not; `nil` without edits.
  package var edits: ArchiveEdits?
  /// How activations are rounded when the model runs; only packed files have such quantizers.
  public var activations: [ActivationQuantizer] = []
  /// Figures on the size of the file, if the archive was read from a packed one.
  public var packedSummary: PackedSummary?
  /// The part of its source that a packed file holds; `nil` for the whole source.
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

  /// The bytes of all tensors; a tensor with several names counts once per name.
  public var tensorByteCount: Int { tensors.values.reduce(0) { $0 + $1.byteCount } }
}

extension TensorArchive {
  /// Returns only the content below `root`, with names relative to it.
  ///
  /// - Parameter root: a dotted path such as `params_ema` or `ema.model`.
  /// - Throws: `ModelError` when no tensor lies below it.
  public func selecting(root: String) throws -> TensorArchive {
    let prefix = "\(root)."
    func rest(_ name: String) -> String? {
      name.hasPrefix(prefix) ? String(name.dropFirst(prefix.count)) : nil
    }
    var selected = TensorArchive(format: format, metadata: metadata, notes: notes)
    selected.sourceFiles = sourceFiles
    for (name, file) in fileOfTensor {
      if let name = rest(name) { selected.fileOfTensor[name] = file }
    }
    selected.activations = activations.map { activation in
      var activation = activation
      activation.name = rest(activation.name) ?? activation.name
      return activation
    }
    selected.packedSummary = packedSummary
    for (name, tensor) in tensors {
      if let name = rest(name) { selected.tensors[name] = tensor }
    }
    for (name, value) in values {
      if let name = rest(name) { selected.values[name] = value }
    }
    selected.unread = unread.compactMap { entry in
      rest(entry.name).map { UnreadEntry(name: $0, kind: entry.kind, reason: entry.reason) }
    }
    for (name, count) in storedByteCounts {
      if let name = rest(name) { selected.storedByteCounts[name] = count }
    }
    for place in stateDictionaries {
      if place.isEmpty || place == root || root.hasPrefix("\(place).") {
        selected.stateDictionaries.insert("")
      } else if let place = rest(place) {
        selected.stateDictionaries.insert(place)
      }
    }
    selected.groups = groups.compactMap { group in
      guard let name = rest(group.name) else { return nil }
      var group = group
      group.name = name
      group.parts = group.parts.map { rest($0) ?? $0 }
      return group
    }
    guard !selected.tensors.isEmpty else {
      throw ModelError.mismatch(
        expected: "tensors below the root '\(root)'",
        found: "\(counted(tensors.count, "tensor")), such as '\(tensors.keys.first ?? "none")'")
    }
    selected.structure = structure?.subtree(at: root)?.renamingLeaves { rest($0) ?? $0 }
    return selected
  }
}

extension ArchiveStructure {
  /// Returns the container named `path`, a dotted name whose keys may themselves contain dots.
  func subtree(at path: String) -> ArchiveStructure? {
    let children: [(name: String, value: ArchiveStructure)]
    switch self {
    case .leaf, .unread: return nil
    case .dictionary(let entries, _):
      children = entries.map { (Self.component(of: $0.key), $0.value) }
    case .list(let items), .tuple(let items), .set(let items):
      children = items.enumerated().map { ("\($0)", $1) }
    }
    for (name, value) in children {
      if name == path { return value }
      if path.hasPrefix("\(name)."),
        let found = value.subtree(at: String(path.dropFirst(name.count + 1)))
      {
        return found
      }
    }
    return nil
  }
}

extension TensorArchive {
  /// Returns two archives with comparable names.
  ///
  /// If they have no name in common because one keeps its weights below a root, the weights are
  /// taken from there.
  ///
  /// - Returns: the archives, and the root selected in each; `nil` for the whole.
  package static func aligned(_ first: TensorArchive, _ second: TensorArchive) -> (
    first: (archive: TensorArchive, root: String?), second: (archive: TensorArchive, root: String?)
  ) {
    func sharesNames(_ left: TensorArchive, _ right: TensorArchive) -> Bool {
      left.tensors.keys.contains { right.tensors[$0] != nil }
    }
    func candidates(_ archive: TensorArchive) -> [(archive: TensorArchive, root: String?)] {
      let roots = archive.networks.compactMap(\.root).compactMap { root in
        (try? archive.selecting(root: root)).map { (archive: $0, root: Optional(root)) }
      }
      return [(archive, nil)] + roots
    }
    for left in candidates(first) {
      for right in candidates(second) where sharesNames(left.archive, right.archive) {
        return (left, right)
      }
    }
    return ((first, nil), (second, nil))
  }
}

extension TensorArchive {
  /// Returns the total bytes of all files that the archive was read from.
  ///
  /// - Throws: `ModelError` when one of them can no longer be opened.
  package func sourceByteCount() throws -> Int {
    try sourceFiles.reduce(0) { try $0 + InputFile(path: $1, access: .read).byteCount }
  }

  /// Returns a digest of the files that the archive was read from, in lower-case hexadecimal.
  ///
  /// The digest of a single file is its SHA-256. The digest of several files is the SHA-256 of the
  /// output of `sha256sum` for their names, relative to the first one's folder and in the order of
  /// `sourceFiles`: one line per file with its SHA-256, two spaces, and its name.
  ///
  /// - Parameter run: computes the files' digests.
  /// - Throws: `ModelError` when one of them can no longer be read.
  func sourceSHA256(
    runningTasks run: TaskRunner = sequentially
  ) throws -> String {
    let files = sourceFiles
    let found = Mutex([String](repeating: "", count: files.count))
    try run(files.count) { index in
      let digest = try InputFile(path: files[index]).sha256()
      found.withLock { $0[index] = digest }
    }
    let digests = found.withLock { $0 }
    guard digests.count != 1, let first = sourceFiles.first else { return digests.first ?? "" }
    let folder = first.folderPrefix
    let lines = zip(digests, sourceFiles).map { digest, path in
      "\(digest)  \(path.hasPrefix(folder) ? String(path.dropFirst(folder.count)) : path)\n"
    }
    return SharedBytes(Array(lines.joined().utf8)).sha256
  }
}
