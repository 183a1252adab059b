import Formats
import Storage

/// A model packed again, by the recipe that a packed file's header keeps, to compare with the file or
/// to replace what is damaged in it.
///
/// Packing is the same for the same source and recipe, whatever the number of threads, so records
/// come out bit for bit. The file's checksums say whether they did.
package struct PackedReproduction: Sendable {
  private let reference: TensorArchive
  private let producer: String
  /// Or why the recipe cannot be followed, which matters to quantized tensors alone.
  private let packer: Result<ModelPacker, any Error>

  /// Prepares to pack the reference again as the header says; a method's model is quantized here.
  ///
  /// - Parameters:
  ///   - header: of the packed file.
  ///   - reference: the full-precision model that the file was made from, below the same root.
  ///   - name: the reference's name in errors, such as its path.
  ///   - material: what the file was calibrated and distilled with, if it was.
  ///   - threads: at least 1; results do not depend on it.
  ///   - report: called as the work goes on, from any thread.
  package init(
    of header: PackedHeader, from reference: TensorArchive, name: String = "the reference",
    calibratedWith material: Compressor.Material = .init(), threads: Int,
    reporting report: @escaping @Sendable (CompressionEvent) -> Void = { _ in }
  ) {
    self.reference = reference
    producer = header.producer
    packer = Result {
      let recipe = try Self.recipe(of: header)
      var compressor = Compressor(
        weights: reference, recipe: recipe, name: name,
        source: try header.source.map { try PackedHeader.Source(reference, root: $0.root) },
        threads: threads, reporting: report)
      try compressor.calibrate(with: material)
      if let settings = recipe.method { try Self.check(settings, header, compressor) }
      let plan = try compressor.plan()
      return plan.packer(of: try plan.quantized())
    }
  }

  /// The recipe that the header keeps.
  ///
  /// - Throws: `ModelError` when there is none, or none that this program knows.
  package static func recipe(of header: PackedHeader) throws -> Recipe {
    guard let recipe = header.recipe else {
      throw ModelError("the packed file's header keeps no recipe")
    }
    return try Recipe(recipe, source: "the packed file's recipe")
  }

  /// Whether all that the method had is at hand.
  private static func check(
    _ settings: MethodSettings, _ header: PackedHeader, _ compressor: Compressor
  ) throws {
    func refuse(_ reason: String) -> ModelError {
      ModelError(reason)
    }
    if case .minutes(let minutes) = settings.distillation?.limit {
      throw refuse(
        "it was distilled for \(minutes) minutes of the clock, which no other run repeats; a number "
          + "of steps can be repeated")
    }
    guard compressor.calibration == nil else {
      if settings.distillation != nil, !compressor.distills {
        throw refuse("it was distilled; the images that it learned from are needed")
      }
      return
    }
    if let recipe = settings.calibration {
      throw refuse(
        recipe.patches == nil
          ? "it was calibrated; the same file of statistics is needed"
          : "it was calibrated; the same images are needed")
    }
    if !header.activations.isEmpty {
      throw refuse("it was calibrated, and its recipe does not say on what")
    }
  }

  /// What in `model` is not what packing gives; none when the file is the same byte for byte.
  ///
  /// The program that the header names as the producer is taken from the file: the recipe does not
  /// say it.
  ///
  /// - Throws: `ModelError` when the recipe does not fit the reference, or the header keeps none.
  package func deviations(of model: PackedModel) throws -> [PackedDeviation] {
    let packer = try packer.get()
    return try packer.packedPlan(producer: producer)
      .deviations(of: model, runningTasks: packer.runTasks)
  }

  /// The record of `entry`, made anew; whether it is the original one, its checksum tells.
  ///
  /// - Throws: `ModelError` when the reference has no such tensor, or gives
  ///   none.
  package func record(of entry: PackedEntry) throws -> SharedBytes {
    guard let tensor = reference.tensors[entry.name] else {
      throw ModelError.mismatch(expected: "a tensor of this name", found: "none")
    }
    if case .affine = entry.encoding {
      return try packer.get().packedPlan(of: [entry.name]).file.record(at: 0).bytes
    }
    // What is kept is so whatever the recipe says of it.
    let item = PackedItem<Never>(
      name: entry.name, role: entry.role, source: tensor, action: .keep)
    return try PackedPlan(header: PackedHeader(producer: producer), items: [item]).file
      .record(at: 0).bytes
  }
}
