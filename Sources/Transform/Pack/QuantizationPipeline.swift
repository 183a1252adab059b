import Formats

/// From a full-precision model to a packed file: the plan, its bit widths, the method, the file.
///
/// Without a calibration and a refiner each weight is quantized on its own, and the model streams:
/// one tensor in memory a thread. Otherwise the quantized model is in memory.
public struct QuantizationPipeline: Sendable {
  /// The plan, with the bit widths that the budget allows.
  public let plan: QuantizationPlan
  /// What each layer's bits are expected to cost; empty without a budget.
  package let choices: [BudgetPlanner.Choice]
  private let archive: TensorArchive
  private let calibration: Calibration?
  private let source: PackedHeader.Source?
  private let threads: Int

  /// Plans, and with a budget measures what bits of each layer are worth; nothing is written.
  ///
  /// - Parameters:
  ///   - threads: at least 1; no result depends on it.
  /// - Throws: `TransformError` when the recipe, the calibration or the budget does not fit the
  ///   archive; `FormatError` on reading.
  public init(
    _ archive: TensorArchive, recipe: Recipe, calibration: Calibration?,
    source: PackedHeader.Source?, threads: Int
  ) throws {
    try calibration?.check(against: archive)
    self.archive = archive
    self.calibration = calibration
    self.source = source
    self.threads = threads
    let plan = try QuantizationPlan(archive, recipe: recipe)
    guard let budget = recipe.budget else {
      self.plan = plan
      choices = []
      return
    }
    let cheapest = try plan.settingBitWidths(
      Dictionary(
        uniqueKeysWithValues: plan.quantizedNames.map { ($0, BudgetPlanner.bitWidths.lowerBound) }))
    var fixedByteCount = 0
    if case .byteCount = budget {
      let activations = try recipe.method.map {
        try ModelQuantizer(archive, plan: cheapest, settings: $0, calibration: calibration)
          .activationQuantizers()
      }
      fixedByteCount = try ModelPacker(
        archive, plan: cheapest, model: QuantizedModel(), source: source, threads: threads
      ).fixedByteCount(activations: activations.map { Array($0.values) } ?? [])
    }
    choices = try BudgetPlanner(
      archive, plan: plan, calibration: calibration, budget: budget, fixedByteCount: fixedByteCount
    ).choices(threads: threads)
    self.plan = try plan.settingBitWidths(
      Dictionary(uniqueKeysWithValues: choices.map { ($0.name, $0.bitWidth) }))
  }

  /// Quantizes by the recipe's method, refines where the method does so and a refiner is at hand, and
  /// writes the packed file, which appears whole at `path` or not at all.
  ///
  /// - Returns: what quantizing each tensor cost, in the archive's order, how small the file is, and
  ///   how many activation quantizers it has.
  /// - Throws: `TransformError`, `FormatError`.
  public func write(
    to path: String, replacesExisting: Bool = false, refiner: (any QuantizationRefiner)? = nil,
    progress: WriteProgress? = nil
  ) throws -> Outcome {
    let model = try quantized(refiner: refiner, progress: progress)
    let (layers, summary) = try packer(of: model).write(
      to: path, replacesExisting: replacesExisting, progress: model == nil ? progress : nil)
    return Outcome(
      layers: layers, summary: summary, activationCount: model?.activations.count ?? 0,
      distillation: model?.distillation)
  }

  /// What the recipe's method makes of the model; `nil` without a method, and with one that has no
  /// calibration and nothing to learn from, where each weight is quantized as it is written.
  ///
  /// - Throws: as `write`.
  func quantized(
    refiner: (any QuantizationRefiner)?, progress: WriteProgress? = nil
  ) throws -> QuantizedModel? {
    guard let settings = plan.recipe.method, calibration != nil || refiner != nil else {
      return nil
    }
    let model = try ModelQuantizer(
      archive, plan: plan, settings: settings, calibration: calibration
    ).quantized(threads: threads, progress: progress)
    guard settings.method.distills, let refiner else { return model }
    return try refiner.refined(model, original: archive)
  }

  func packer(of model: QuantizedModel?) -> ModelPacker {
    ModelPacker(archive, plan: plan, model: model, source: source, threads: threads)
  }

  /// Packs weight by weight; `nil` where a calibration makes weights depend on more than themselves,
  /// or a budget of bytes makes the file's last byte decide.
  package var streamingPacker: ModelPacker? {
    guard calibration == nil else { return nil }
    if case .byteCount = plan.recipe.budget { return nil }
    return ModelPacker(archive, plan: plan, model: nil, source: source, threads: threads)
  }

  /// What a written file is.
  public struct Outcome: Sendable {
    /// What quantizing each tensor cost, in the archive's order.
    public let layers: [QuantizationSummary]
    /// How small the file is.
    public let summary: PackedSummary
    /// Activation quantizers in the file.
    public let activationCount: Int
    /// What distillation did; `nil` without.
    public let distillation: DistillationSummary?
  }
}
