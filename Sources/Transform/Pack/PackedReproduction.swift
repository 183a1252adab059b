import Formats

/// A model packed again, by the recipe that a packed file's header keeps, to compare with the file or
/// to replace what is damaged in it.
///
/// Packing is the same for the same source and recipe, whatever the number of threads, so records
/// come out bit for bit. The file's checksums say whether they did.
public struct PackedReproduction: Sendable {
  private let packer: ModelPacker
  private let producer: String

  /// - Parameters:
  ///   - header: of the packed file.
  ///   - reference: the full-precision model that the file was made from, below the same root.
  ///   - threads: at least 1; results do not depend on it.
  /// - Throws: `TransformError` when the recipe does not fit the reference, or the header keeps none.
  public init(of header: PackedHeader, from reference: TensorArchive, threads: Int) throws {
    guard let recipe = header.recipe else {
      throw TransformError(.notPlanned(reason: "the packed file's header keeps no recipe"))
    }
    let source = try header.source.map { try PackedHeader.Source(reference, root: $0.root) }
    packer = try ModelPacker(
      reference, recipe: Recipe(recipe, source: "the packed file's recipe"), source: source,
      threads: threads)
    producer = header.producer
  }

  /// What in `model` is not what packing gives; none when the file is the same byte for byte.
  ///
  /// The program that the header names as the producer is taken from the file: the recipe does not
  /// say it.
  public func deviations(of model: PackedModel) throws -> [PackedDeviation] {
    try packer.writer(producer: producer).deviations(of: model, runningTasks: packer.runTasks)
  }

  /// The record of `entry`, made anew; whether it is the original one, its checksum tells.
  ///
  /// - Throws: `FormatError` and `TransformError` when the reference has no such tensor, or gives
  ///   none.
  public func record(of entry: PackedEntry) throws -> SharedBytes {
    let writer = try packer.writer(of: [entry.name])
    guard !writer.header.entries.isEmpty else {
      throw FormatError.mismatch(expected: "a tensor of this name", found: "none")
    }
    return try writer.record(at: 0)
  }
}
