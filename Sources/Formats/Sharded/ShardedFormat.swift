import OrderedCollections
import Storage

/// A checkpoint split over several safetensors or PyTorch files, read through its index.
///
/// The archive looks like that of one file: it has every tensor once, in the order of the index.
package struct ShardedFormat: ReadOnlyModelFormat {
  /// The formats of shards.
  private let shardFormats: [any ModelFormat] = [SafetensorsFormat(), PyTorchFormat()]

  /// Paths of shards that are gone, with all of their tensors; the others must exist.
  private let absentFiles: Set<String>

  package init() { self.init(absentFiles: []) }

  /// Creates a format that tolerates missing shards.
  ///
  /// - Parameter absentFiles: paths of shards that a conversion has already consumed. The archive
  ///   lacks their tensors.
  package init(absentFiles: Set<String>) {
    self.absentFiles = absentFiles
  }

  package var identifier: FormatIdentifier {
    FormatIdentifier(name: "sharded", displayName: "sharded checkpoint", fileExtensions: [])
  }

  package func recognizes(_ file: InputFile) -> Bool { ShardIndex.isRecognized(file) }

  /// Reads the index and the index of every shard.
  package func read(_ file: InputFile) throws -> TensorArchive {
    try locatingErrors(path: file.path) {
      let index = try ShardIndex(reading: file)
      let siblings = SiblingFiles(beside: file)
      let names = Set(index.weightMap.values).sortedByBytes()
      let absent = try Set(names.filter { absentFiles.contains(try siblings.path(of: $0)) })
      let missing = try names.filter { try !absent.contains($0) && !siblings.exists($0) }
      guard missing.isEmpty else {
        throw ModelError.malformed(
          "\(missing.count) of \(counted(names.count, "shard")) are missing: \(missing.quotedList())"
        )
      }
      var merging = ShardMerging(index: index)
      for name in names where !absent.contains(name) {
        let shard = try siblings.open(name)
        try merging.add(try read(shard: shard), from: name)
      }
      var archive = try merging.finish()
      archive.format = identifier
      archive.sourceFiles = try [file.path] + names.map(siblings.path)
      archive.fileOfTensor = try merging.shardOfTensor.mapValues(siblings.path)
      archive.notes += ShardNames(names).notes(folder: siblings.names())
      return archive
    }
  }

  private func read(shard: InputFile) throws -> TensorArchive {
    guard let format = shardFormats.first(where: { $0.recognizes(shard) }) else {
      throw ModelError.unsupported(
        "a shard is neither a safetensors nor a PyTorch file: \(FileSignature.describe(shard))",
        path: shard.path)
    }
    return try format.read(shard)
  }
}

/// Merges an index and its shards into one archive, and notes where they disagree.
struct ShardMerging {
  private let index: ShardIndex
  /// The shard that each tensor is taken from.
  private(set) var shardOfTensor: [String: String] = [:]
  private var mapped: [String: Tensor] = [:]
  /// Tensors that a shard holds but the index does not name, with their shard.
  private var unmapped: OrderedDictionary<String, (tensor: Tensor, shard: String)> = [:]
  private var values: [(shard: String, values: OrderedDictionary<String, ArchiveValue>)] = []
  private var metadata: [(shard: String, values: OrderedDictionary<String, String>)] = []
  private var notes: [String] = []
  private var unread: [UnreadEntry] = []

  init(index: ShardIndex) {
    self.index = index
    metadata = [("index", index.metadata)]
  }

  /// Adds the content of the shard `name`.
  ///
  /// - Throws: `ModelError` when the shard lacks a tensor that the index places in it, or when two
  ///   shards hold a tensor that the index does not name.
  mutating func add(_ shard: TensorArchive, from name: String) throws {
    let expected = index.weightMap.filter { $0.value == name }.keys
    let unreadNames = Set(shard.unread.map(\.name))
    let absent = expected.filter { shard.tensors[$0] == nil && !unreadNames.contains($0) }
    guard absent.isEmpty else {
      throw ModelError.malformed(
        "the shard '\(name)' lacks tensors that the index assigns to it: \(absent.quotedList())")
    }
    var copies: [String] = []
    for (tensorName, tensor) in shard.tensors {
      switch index.weightMap[tensorName] {
      case name?:
        mapped[tensorName] = tensor
        shardOfTensor[tensorName] = name
      case .some: copies.append(tensorName)
      case nil:
        if let other = unmapped[tensorName] {
          throw ModelError.malformed(
            "it is not in the index, but in both '\(other.shard)' and '\(name)'",
            tensor: tensorName)
        }
        unmapped[tensorName] = (tensor, name)
        shardOfTensor[tensorName] = name
      }
    }
    if !copies.isEmpty {
      notes.append(
        "the shard '\(name)' also holds tensors that the index takes from another one: "
          + copies.quotedList())
    }
    values.append((name, shard.values))
    metadata.append((name, shard.metadata))
    notes += shard.notes.map { "\(name): \($0)" }
    unread += shard.unread
  }

  /// Returns the archive, once all shards have been added.
  func finish() throws -> TensorArchive {
    var archive = TensorArchive()
    for name in index.weightMap.keys { archive.tensors[name] = mapped[name] }
    for (name, entry) in unmapped { archive.tensors[name] = entry.tensor }
    archive.values = try Self.merge(values)
    archive.metadata = try Self.merge(metadata)
    archive.notes = notes
    archive.unread = unread
    if !unmapped.isEmpty {
      archive.notes.append(
        "the index lacks \(counted(unmapped.count, "tensor")) of the shards, which are part of the model: "
          + unmapped.keys.quotedList())
    }
    if let totalSize = index.totalSize, totalSize != archive.tensorByteCount {
      archive.notes.append(
        "the index says \(counted(totalSize, "byte")) of tensors (total_size), but the shards hold "
          + "\(archive.tensorByteCount)")
    }
    if !index.unknownMembers.isEmpty {
      archive.notes.append(
        "the index has members that are not read: \(index.unknownMembers.quotedList())")
    }
    return archive
  }

  /// Merges several dictionaries into one: an entry on which all parts that have it agree keeps its
  /// key; an entry on which they disagree gets the part's name as a prefix.
  static func merge<Value: Hashable>(
    _ parts: [(shard: String, values: OrderedDictionary<String, Value>)]
  ) throws -> OrderedDictionary<String, Value> {
    var found: OrderedDictionary<String, [(shard: String, value: Value)]> = [:]
    for part in parts {
      for (key, value) in part.values { found[key, default: []].append((part.shard, value)) }
    }
    var merged: OrderedDictionary<String, Value> = [:]
    func insert(_ key: String, _ value: Value) throws {
      guard merged.updateValue(value, forKey: key) == nil else {
        throw ModelError.malformed("two shards differ in '\(key)'")
      }
    }
    for (key, entries) in found {
      if Set(entries.map(\.value)).count == 1 {
        try insert(key, entries[0].value)
      } else {
        for entry in entries { try insert("\(entry.shard)/\(key)", entry.value) }
      }
    }
    return merged
  }
}
