import Formats
import Storage

/// A model packed again by the recipe in a packed file's header, to compare it with the file or to
/// replace damaged parts.
///
/// Packing depends only on the source and the recipe, not on the number of threads, so records are
/// reproduced bit for bit. The file's checksums confirm that.
package struct PackedReproduction: Sendable {
  private let reference: TensorArchive
  private let producer: String
  /// The full-precision tensors that the method changed, such as corrected biases.
  private let adjustedNames: Set<String>
  /// The packer, or why the recipe cannot be followed, which only matters to quantized tensors.
  private let packer: Result<ModelPacker, any Error>

  /// Prepares to pack the reference again by the header's recipe. Unless its method is to round
  /// to nearest, this quantizes the model.
  ///
  /// - Parameters:
  ///   - header: the packed file's header.
  ///   - reference: the full-precision model from which the file was made, below the same root.
  ///   - name: the reference's name in errors, such as its path.
  ///   - material: the material with which the file was calibrated and distilled, if it was.
  ///   - threads: at least 1; results do not depend on it.
  ///   - report: called as the work goes on, from any thread.
  package init(
    of header: PackedHeader, from reference: TensorArchive, name: String = "the reference",
    calibratedWith material: Compressor.Material = .init(), threads: Int,
    reporting report: @escaping @Sendable (CompressionEvent) -> Void = { _ in }
  ) {
    self.reference = reference
    producer = header.producer
    adjustedNames = Set(header.adjustedNames)
    packer = Result {
      let recipe = try Self.recipe(of: header)
      var compressor = Compressor(
        weights: reference, recipe: recipe, name: name,
        source: try header.source.map { try PackedHeader.Source(reference, root: $0.root) },
        threads: threads, reporting: report)
      try compressor.calibrate(with: material)
      try Self.check(recipe.method, header, compressor)
      let plan = try compressor.plan()
      return plan.packer(of: try plan.quantized())
    }
  }

  /// Returns the recipe in the header.
  ///
  /// - Throws: `ModelError` when there is no recipe or this program cannot read it.
  package static func recipe(of header: PackedHeader) throws -> Recipe {
    guard let recipe = header.recipe else {
      throw ModelError("the packed file's header has no recipe")
    }
    return try Recipe(recipe, source: "the packed file's recipe")
  }

  /// Checks that all inputs of the method are available.
  private static func check(
    _ settings: MethodSettings, _ header: PackedHeader, _ compressor: Compressor
  ) throws {
    func refuse(_ reason: String) -> ModelError {
      ModelError(reason)
    }
    if case .minutes(let minutes) = settings.distillation?.limit {
      throw refuse(
        "it was distilled for \(minutes) minutes of elapsed time, which cannot be reproduced; "
          + "a number of steps can")
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
      throw refuse("it was calibrated, and its recipe does not say with what")
    }
  }

  /// Returns the differences of `model` from the result of packing; empty if the file is the same
  /// byte for byte.
  ///
  /// The header's producer is taken from the file, because the recipe does not determine it.
  ///
  /// - Throws: `ModelError` when the recipe does not fit the reference or the header has none.
  package func deviations(of model: PackedModel) throws -> [PackedDeviation] {
    let packer = try packer.get()
    return try packer.packedPlan(producer: producer)
      .deviations(of: model, runningTasks: packer.runTasks)
  }

  /// Makes the record of `entry` anew; its checksum tells whether it is the original one.
  ///
  /// - Throws: `ModelError` when the reference has no such tensor or the record cannot be made.
  package func record(of entry: PackedEntry) throws -> SharedBytes {
    guard let tensor = reference.tensors[entry.name] else {
      throw ModelError.mismatch(expected: "a tensor of this name", found: "none")
    }
    var isMade = adjustedNames.contains(entry.name)
    if case .affine = entry.encoding { isMade = true }
    if isMade {
      return try packer.get().packedPlan(of: [entry.name]).file.record(at: 0).bytes
    }
    // A kept tensor does not depend on the recipe.
    let item = PackedItem<Never>(
      name: entry.name, role: entry.role, source: tensor, action: .keep)
    return try PackedPlan(header: PackedHeader(producer: producer), items: [item]).file
      .record(at: 0).bytes
  }
}
