/// A checkpoint split over several safetensors or PyTorch files, read through its index.
///
/// The archive is that of one file: every tensor once, in the order of the index.
public struct ShardedFormat: ReadOnlyModelFormat {
  /// What a shard may be.
  private let shardFormats: [any ModelFormat] = [SafetensorsFormat(), PyTorchFormat()]

  /// Paths of shards that are gone, with every tensor in them; others must be there.
  private let absentFiles: Set<String>

  public init() { self.init(absentFiles: []) }

  /// - Parameter absentFiles: paths of shards that a conversion has consumed already. The archive
  ///   is without their tensors.
  package init(absentFiles: Set<String>) {
    self.absentFiles = absentFiles
  }

  public var identifier: FormatIdentifier {
    FormatIdentifier(name: "sharded", displayName: "sharded checkpoint", fileExtensions: [])
  }

  public func recognizes(_ file: InputFile) -> Bool { ShardIndex.isRecognized(file) }

  /// Reads the index and the index of every shard.
  public func read(_ file: InputFile) throws -> TensorArchive {
    try locatingErrors(path: file.path) {
      let index = try ShardIndex(reading: file)
      let siblings = SiblingFiles(beside: file)
      let names = Set(index.weightMap.values).sortedByBytes()
      let absent = try Set(names.filter { absentFiles.contains(try siblings.path(of: $0)) })
      let missing = try names.filter { try !absent.contains($0) && !siblings.exists($0) }
      guard missing.isEmpty else {
        throw FormatError.malformed(
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
      throw FormatError.unsupported(
        "a shard is neither a safetensors nor a PyTorch file: \(FileSignature.describe(shard))",
        path: shard.path)
    }
    return try format.read(shard)
  }
}
