import Formats
import Storage

/// A compressor's plan: the quantization plan with its bit widths, and everything needed to execute
/// it.
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
  /// The bit width and the expected error of each layer; empty without a budget.
  package let choices: [BudgetPlanner.Choice]
  /// The original model and the equalized one, which is quantized.
  private let archive: TensorArchive
  private let equalized: TensorArchive
  private let equalization: ChannelEqualization?
  package let calibration: Calibration?
  private let refine: Refinement?
  private let source: PackedHeader.Source?
  private let threads: Int

  /// A closure that improves a quantized model by means of the full-precision model.
  package typealias Refinement =
    @Sendable (
      _ model: QuantizedModel, _ original: TensorArchive
    ) throws -> QuantizedModel

  /// Plans the compression and, with a budget, measures the value of each layer's bits; nothing is
  /// written.
  ///
  /// - Parameters:
  ///   - equalization: the changes to the model before it is quantized; the calibration is that of
  ///     the changed model.
  ///   - threads: at least 1; no result depends on it.
  /// - Throws: `ModelError` when the recipe, the calibration or the budget does not fit the
  ///   archive, and when a tensor cannot be read.
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
        uniqueKeysWithValues: plan.quantizedNames.map { ($0, plan.leastBitWidth(of: $0)) }))
    var fixedByteCount = 0
    if case .byteCount = budget {
      let activations = try ModelQuantizer(
        equalized, plan: cheapest, settings: recipe.method, calibration: calibration
      ).activationQuantizers()
      fixedByteCount = try ModelPacker(
        equalized, plan: cheapest, model: QuantizedModel(), source: source, threads: threads
      ).fixedByteCount(activations: Array(activations.values))
    }
    choices = try BudgetPlanner(
      equalized, plan: plan, calibration: calibration, budget: budget,
      fixedByteCount: fixedByteCount
    ).choices(threads: threads)
    self.plan = try plan.settingBitWidths(
      Dictionary(uniqueKeysWithValues: choices.map { ($0.name, $0.bitWidth) }))
  }

  /// Quantizes by the recipe's method, distils if the method does, and writes the packed file,
  /// which appears whole at `path` or not at all.
  ///
  /// - Parameters:
  ///   - replacesExisting: whether to replace an existing file, which is an error otherwise.
  ///   - progress: called with the bytes of each finished tensor, from any thread.
  /// - Throws: `ModelError` for tensors that cannot be quantized, and when reading or writing
  ///   fails.
  public func write(
    to path: String, replacesExisting: Bool = false, progress: WriteProgress? = nil
  ) throws -> CompressionOutcome {
    let model = try quantized(progress: progress)
    var outcome = try packer(of: model).write(
      to: path, replacesExisting: replacesExisting, progress: model == nil ? progress : nil)
    outcome.distillation = model?.distillation
    return outcome
  }

  /// Quantizes the model by the recipe's method. Returns `nil` if each weight is quantized as it is
  /// written: rounded to nearest, or without both a calibration and a refinement.
  ///
  /// - Throws: `ModelError` as `write` does.
  func quantized(progress: WriteProgress? = nil) throws -> QuantizedModel? {
    let settings = plan.recipe.method
    guard settings.method != .nearest, calibration != nil || refine != nil else { return nil }
    var model = try ModelQuantizer(
      equalized, plan: plan, settings: settings, calibration: calibration
    ).quantized(threads: threads, progress: progress)
    // The method has already made its weights and biases from the changed tensors.
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

  /// A packer that works weight by weight; `nil` if a calibration makes weights depend on more than
  /// themselves, or a budget in bytes limits the whole file.
  package var streamingPacker: ModelPacker? {
    guard calibration == nil else { return nil }
    if case .byteCount = plan.recipe.budget { return nil }
    return packer(of: nil)
  }
}
