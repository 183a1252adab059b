import Glibc
import OrderedCollections
import Storage
import Synchronization

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

extension TensorArchive {
  /// Only what lies below `root`, with names counted from there.
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
  /// The container named `path`, a dotted name in which keys themselves may have dots.
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
  /// Two archives with names that can be compared.
  ///
  /// Where they have no name in common because one keeps its weights below a root, the weights are
  /// taken from there.
  ///
  /// - Returns: the archives, and the root that was taken in each, `nil` for the whole.
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
  /// Bytes of all files that the archive was read from.
  ///
  /// - Throws: `ModelError` when one of them cannot be opened any more.
  package func sourceByteCount() throws -> Int {
    try sourceFiles.reduce(0) { try $0 + InputFile(path: $1, access: .read).byteCount }
  }

  /// What identifies the files that the archive was read from, in lower-case hexadecimal.
  ///
  /// For one file it is its SHA-256. For several it is the SHA-256 of what `sha256sum` prints when
  /// given their names, relative to the first one's folder and in the order of `sourceFiles`: a line
  /// a file, of its SHA-256, two spaces, and its name.
  ///
  /// - Parameter run: computes the files' digests.
  /// - Throws: `ModelError` when one of them cannot be read any more.
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
