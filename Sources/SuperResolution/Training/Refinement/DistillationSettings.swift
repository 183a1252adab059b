import Transform

/// How long, on what and at which rates a quantized model is distilled.
public struct DistillationSettings: Hashable, Sendable {
  /// When distillation ends: after steps or after minutes.
  public typealias Limit = DistillationRecipe.Limit

  /// When distillation ends; rates fall along half a cosine until then.
  public var limit: Limit
  /// Whether all that takes no room in the packed file is learned: the numbers that codes are rounded
  /// from, biases, norms and all other tensors in full precision; otherwise bounds alone.
  var learnsEverything: Bool
  /// Rates by kinds of parameters (see `Adam.rates`); where everything is learned, those at 2 bits (see
  /// `QuantizedStudent.rates`).
  var rates: [ParameterGroup: Float]
  var loss = DistillationLossWeights()
  /// Patches of a step.
  public var batchCount = DistillationRecipe.standardBatchCount
  /// Pixels of a patch's side, before enlargement.
  public var patchSide = DistillationRecipe.standardPatchSide
  /// What the places of patches are drawn by.
  public var seed: UInt64 = 0
  /// Distillation ends early after so many comparisons in a row that were no gain; `nil` for never.
  public var patience: Int?
  /// Threads that learn, at least 1; with a limit of steps the result does not depend on it.
  public var threads: Int

  /// What suits a method: the papers' learn bounds alone, by their loss; `best` learns everything, and
  /// compares features by their relative error, which their loss hardly weighs.
  public init(for method: QuantizationMethod, limit: Limit, threads: Int) {
    self.limit = limit
    self.threads = threads
    learnsEverything = method == .best
    rates = [.activationBounds: 1e-2, .weightBounds: 1e-2]
    guard learnsEverything else { return }
    rates[.latentWeights] = 1e-2
    rates[.biases] = 3e-4
    rates[.norms] = 3e-4
    rates[.others] = 2e-4
    loss.norm = .rootMeanSquare
    loss.features = 0.02
  }

  /// The settings that a recipe asks for.
  public init(_ recipe: DistillationRecipe, for method: QuantizationMethod, threads: Int) {
    self.init(for: method, limit: recipe.limit, threads: threads)
    batchCount = recipe.batchCount
    patchSide = recipe.patchSide
    seed = recipe.seed
    patience = recipe.patience
  }
}

/// How far distillation is.
public struct DistillationProgress: Hashable, Sendable {
  /// Steps taken so far.
  public let stepCount: Int
  /// The share of the limit that is used up, 0 to 1.
  public let share: Double
  /// The last step's loss, before it.
  public let loss: Double
  /// The PSNR in dB of the last comparison with the model in full precision; see
  /// `DistillationSummary`.
  public let psnr: Double
}
