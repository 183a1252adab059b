import OrderedCollections
import Storage

/// A model divided into safetensors files of a greatest length, with the index that Transformers and
/// others read; `Sharded.md` has the rules.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// let shards = try SafetensorsShards(archive, byteCountLimit: 5_000_000_000)
/// print(shards.count, try shards.plan(named: "model.safetensors").paths(for: "model.safetensors"))
/// ```
package struct SafetensorsShards: Sendable {
  private let archive: TensorArchive
  /// The tensors of each shard, in the archive's order.
  private let names: [[String]]

  /// The number of shards; 1 if all tensors fit into one, which has no index.
  package var count: Int { max(1, names.count) }

  /// Divides `archive` in the order of its tensors; a tensor that is longer than the limit has a
  /// shard of its own.
  ///
  /// - Parameter byteCountLimit: the most bytes of tensors in one shard.
  /// - Throws: `ModelError` when the limit is not positive.
  package init(_ archive: TensorArchive, byteCountLimit: Int) throws {
    guard byteCountLimit > 0 else {
      throw ModelError.unsupported("shards need room for tensors")
    }
    self.archive = archive
    var names: [[String]] = []
    var room = 0
    for (name, tensor) in archive.tensors {
      if names.isEmpty || tensor.byteCount > room {
        names.append([])
        room = byteCountLimit
      }
      names[names.count - 1].append(name)
      room = max(0, room - tensor.byteCount)
    }
    self.names = names
  }

  /// Plans the files of an output at `path`: that file, or, if there are several shards, files such
  /// as `model-00001-of-00003.safetensors` and `model.safetensors.index.json` beside it.
  ///
  /// - Throws: `ModelError` for what safetensors cannot hold.
  package func plan(named path: String) throws -> PlannedOutput {
    let format = SafetensorsFormat()
    guard count > 1 else { return PlannedOutput(try format.plan(archive)) }
    var shards: [(name: String, file: PlannedFile<Never>)] = []
    var fileOfTensor: OrderedDictionary<String, JSONValue> = [:]
    for (index, names) in names.enumerated() {
      let number = String(printf: "-%05d-of-%05d", Int32(index + 1), Int32(count))
      let file = "\(path.pathStem)\(number).safetensors"
      var shard = TensorArchive(format: archive.format, metadata: archive.metadata)
      if index == 0 { shard.values = archive.values }
      for name in names {
        shard.tensors[name] = archive.tensors[name]
        fileOfTensor[name] = .string(file)
      }
      shards.append((file, try format.plan(shard)))
    }
    let index = JSONValue.object([
      "metadata": .object(["total_size": .integer(archive.tensorByteCount)]),
      "weight_map": .object(fileOfTensor),
    ])
    try index.checkKeys()
    let text = SharedBytes(Array("\(index.serialized(pretty: true))\n".utf8))
    return PlannedOutput(
      index: PlannedFile(content: text), suffix: ShardIndex.fileNameSuffix, of: shards)
  }
}
