import Formats
import Storage

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

  /// Prepares to pack the reference again as the header says; a method's model is quantized here.
  ///
  /// - Parameters:
  ///   - header: of the packed file.
  ///   - reference: the full-precision model that the file was made from, below the same root.
  ///   - calibration: the statistics that the file was quantized with, if it was.
  ///   - equalization: what was changed before that, if anything was.
  ///   - refiner: what distils as the file's model was, if it was.
  ///   - threads: at least 1; results do not depend on it.
  public init(
    of header: PackedHeader, from reference: TensorArchive, calibration: Calibration? = nil,
    equalization: ChannelEqualization? = nil, refiner: (any QuantizationRefiner)? = nil,
    threads: Int
  ) {
    self.reference = reference
    producer = header.producer
    packer = Result {
      let recipe = try Self.recipe(of: header)
      if let settings = recipe.method {
        try Self.check(settings, header, calibration: calibration, refiner: refiner)
      }
      let source = try header.source.map { try PackedHeader.Source(reference, root: $0.root) }
      let pipeline = try QuantizationPipeline(
        reference, recipe: recipe, calibration: calibration, equalization: equalization,
        source: source, threads: threads)
      return pipeline.packer(of: try pipeline.quantized(refiner: refiner))
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
    _ settings: MethodSettings, _ header: PackedHeader, calibration: Calibration?,
    refiner: (any QuantizationRefiner)?
  ) throws {
    func refuse(_ reason: String) -> ModelError {
      ModelError(reason)
    }
    if case .minutes(let minutes) = settings.distillation?.limit {
      throw refuse(
        "it was distilled for \(minutes) minutes of the clock, which no other run repeats; a number "
          + "of steps can be repeated")
    }
    guard calibration == nil else {
      if settings.distillation != nil, refiner == nil {
        throw refuse("it was distilled; the pictures that it learned from are needed")
      }
      return
    }
    if let recipe = settings.calibration {
      throw refuse(
        recipe.patches == nil
          ? "it was calibrated; the same file of statistics is needed"
          : "it was calibrated; the same pictures are needed")
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
  public func deviations(of model: PackedModel) throws -> [PackedDeviation] {
    let packer = try packer.get()
    return try packer.writer(producer: producer)
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
      return try packer.get().writer(of: [entry.name]).record(at: 0)
    }
    // What is kept is so whatever the recipe says of it.
    let item = PackedItem(name: entry.name, role: entry.role, source: tensor, action: .keep)
    return try PackedWriter(header: PackedHeader(producer: producer), items: [item]).record(at: 0)
  }
}
