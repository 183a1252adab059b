import Formats

/// A model packed again, by the recipe that a packed file's header keeps, to compare with the file or
/// to replace what is damaged in it.
///
/// Packing is the same for the same source and recipe, whatever the number of threads, so records
/// come out bit for bit. The file's checksums say whether they did.
public struct PackedReproduction: Sendable {
  private let reference: TensorArchive
  private let producer: String
  /// Or why the recipe cannot be followed, which matters to quantized tensors alone.
  private let packer: Result<ModelPacker, any Error>

  /// - Parameters:
  ///   - header: of the packed file.
  ///   - reference: the full-precision model that the file was made from, below the same root.
  ///   - threads: at least 1; results do not depend on it.
  public init(of header: PackedHeader, from reference: TensorArchive, threads: Int) {
    self.reference = reference
    producer = header.producer
    packer = Result {
      guard let recipe = header.recipe else {
        throw TransformError(.notPlanned(reason: "the packed file's header keeps no recipe"))
      }
      let source = try header.source.map { try PackedHeader.Source(reference, root: $0.root) }
      return try ModelPacker(
        reference, recipe: Recipe(recipe, source: "the packed file's recipe"), source: source,
        threads: threads)
    }
  }

  /// What in `model` is not what packing gives; none when the file is the same byte for byte.
  ///
  /// The program that the header names as the producer is taken from the file: the recipe does not
  /// say it.
  ///
  /// - Throws: `TransformError` when the recipe does not fit the reference, or the header keeps none.
  public func deviations(of model: PackedModel) throws -> [PackedDeviation] {
    let packer = try packer.get()
    return try packer.writer(producer: producer)
      .deviations(of: model, runningTasks: packer.runTasks)
  }

  /// The record of `entry`, made anew; whether it is the original one, its checksum tells.
  ///
  /// - Throws: `FormatError` and `TransformError` when the reference has no such tensor, or gives
  ///   none.
  public func record(of entry: PackedEntry) throws -> SharedBytes {
    guard let tensor = reference.tensors[entry.name] else {
      throw FormatError.mismatch(expected: "a tensor of this name", found: "none")
    }
    if case .affine = entry.encoding {
      return try packer.get().writer(of: [entry.name]).record(at: 0)
    }
    // What is kept is so whatever the recipe says of it.
    let item = PackedItem(name: entry.name, role: entry.role, source: tensor, action: .keep)
    return try PackedWriter(header: PackedHeader(producer: producer), items: [item]).record(at: 0)
  }
}
