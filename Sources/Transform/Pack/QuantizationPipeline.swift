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
  /// The model as it came, and as it is quantized.
  private let archive: TensorArchive
  private let equalized: TensorArchive
  private let equalization: ChannelEqualization?
  private let calibration: Calibration?
  private let source: PackedHeader.Source?
  private let threads: Int

  /// Plans, and with a budget measures what bits of each layer are worth; nothing is written.
  ///
  /// - Parameters:
  ///   - equalization: what is changed of the model before it is quantized; the calibration is of the
  ///     changed one.
  ///   - threads: at least 1; no result depends on it.
  /// - Throws: `ModelError` when the recipe, the calibration or the budget does not fit the
  ///   archive, and on reading.
  public init(
    _ archive: TensorArchive, recipe: Recipe, calibration: Calibration?,
    equalization: ChannelEqualization? = nil, source: PackedHeader.Source?, threads: Int
  ) throws {
    try calibration?.check(against: archive)
    self.archive = archive
    self.equalization = equalization
    let equalized = equalization?.applied(to: archive) ?? archive
    self.equalized = equalized
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
        try ModelQuantizer(equalized, plan: cheapest, settings: $0, calibration: calibration)
          .activationQuantizers()
      }
      fixedByteCount = try ModelPacker(
        equalized, plan: cheapest, model: QuantizedModel(), source: source, threads: threads
      ).fixedByteCount(activations: activations.map { Array($0.values) } ?? [])
    }
    choices = try BudgetPlanner(
      equalized, plan: plan, calibration: calibration, budget: budget,
      fixedByteCount: fixedByteCount
    ).choices(threads: threads)
    self.plan = try plan.settingBitWidths(
      Dictionary(uniqueKeysWithValues: choices.map { ($0.name, $0.bitWidth) }))
  }

  /// Quantizes by the recipe's method, refines where the method does so and a refiner is at hand, and
  /// writes the packed file, which appears whole at `path` or not at all.
  ///
  /// - Returns: what quantizing each tensor cost, in the archive's order, how small the file is, and
  ///   how many activation quantizers it has.
  /// - Throws: `ModelError`.
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
    var model = try ModelQuantizer(
      equalized, plan: plan, settings: settings, calibration: calibration
    ).quantized(threads: threads, progress: progress)
    // Weights and biases that the method made are made from the changed tensors already.
    let corrected = Set(
      model.layers.compactMap { $1.bias == nil ? nil : ModelQuantizer.biasName(ofWeight: $0) })
    for (name, tensor) in equalization?.tensors ?? [:]
    where model.layers[name] == nil && !corrected.contains(name) {
      model.tensors[name] = try tensor.floatValues()
    }
    guard settings.method.distills, let refiner else { return model }
    return try refiner.refined(model, original: equalized)
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
