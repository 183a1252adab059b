import Formats
import Storage

/// What a compressor is about to do: the plan with its bit widths, and all that carrying it out takes.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// let plan = try Compressor(archive, recipe: .named("body")).plan()
/// let outcome = try plan.write(to: "model.condi") { tensor, _ in print(tensor) }
/// print(outcome.summary.bitsPerWeight)
/// ```
public struct CompressionPlan: Sendable {
  /// The plan, with the bit widths that the budget allows.
  package let plan: QuantizationPlan
  /// What each layer's bits are expected to cost; empty without a budget.
  package let choices: [BudgetPlanner.Choice]
  /// The model as it came, and as it is quantized.
  private let archive: TensorArchive
  private let equalized: TensorArchive
  private let equalization: ChannelEqualization?
  package let calibration: Calibration?
  private let refine: Refinement?
  private let source: PackedHeader.Source?
  private let threads: Int

  /// Improves a quantized model by what the whole model in full precision puts out.
  package typealias Refinement =
    @Sendable (
      _ model: QuantizedModel, _ original: TensorArchive
    ) throws -> QuantizedModel

  /// Plans, and with a budget measures what bits of each layer are worth; nothing is written.
  ///
  /// - Parameters:
  ///   - equalization: what is changed of the model before it is quantized; the calibration is of the
  ///     changed one.
  ///   - threads: at least 1; no result depends on it.
  /// - Throws: `ModelError` when the recipe, the calibration or the budget does not fit the
  ///   archive, and on reading.
  package init(
    _ archive: TensorArchive, recipe: Recipe, calibration: Calibration?,
    equalization: ChannelEqualization? = nil, refining refine: Refinement? = nil,
    source: PackedHeader.Source?, threads: Int
  ) throws {
    try calibration?.check(against: archive)
    self.archive = archive
    self.equalization = equalization
    let equalized = equalization?.applied(to: archive) ?? archive
    self.equalized = equalized
    self.calibration = calibration
    self.refine = refine
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

  /// Quantizes by the recipe's method, distils where it does, and writes the packed file, which
  /// appears whole at `path` or not at all.
  ///
  /// - Parameters:
  ///   - replacesExisting: whether a file that is there already is replaced; otherwise it is an error.
  ///   - progress: called with the bytes of each tensor done, from any thread.
  /// - Throws: `ModelError` for tensors that cannot be quantized, and on reading and writing.
  public func write(
    to path: String, replacesExisting: Bool = false, progress: WriteProgress? = nil
  ) throws -> CompressionOutcome {
    let model = try quantized(progress: progress)
    var outcome = try packer(of: model).write(
      to: path, replacesExisting: replacesExisting, progress: model == nil ? progress : nil)
    outcome.distillation = model?.distillation
    return outcome
  }

  /// What the recipe's method makes of the model; `nil` without a method, and with one that has no
  /// calibration and nothing to learn from, where each weight is quantized as it is written.
  ///
  /// - Throws: as `write`.
  func quantized(progress: WriteProgress? = nil) throws -> QuantizedModel? {
    guard let settings = plan.recipe.method, calibration != nil || refine != nil else {
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
    guard settings.method.distills, let refine else { return model }
    return try refine(model, equalized)
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
}
