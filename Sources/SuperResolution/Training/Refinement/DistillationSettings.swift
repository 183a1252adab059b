import Transform

/// How long, on what and at which rates a quantized model is distilled.
public struct DistillationSettings: Hashable, Sendable {
  /// When distillation ends; rates fall along half a cosine until then.
  public enum Limit: Hashable, Sendable {
    /// Then the result is the same everywhere, for any number of threads.
    case steps(Int)
    /// Of the clock on the wall; what is reached depends on the machine.
    case seconds(Double)
  }

  public var limit: Limit
  /// Whether all that takes no room in the packed file is learned: the numbers that codes are rounded
  /// from, biases, norms and all other tensors in full precision; otherwise bounds alone.
  public var learnsEverything: Bool
  /// Rates by kinds of parameters; see `Adam.rates`.
  public var rates: [ParameterGroup: Float]
  public var loss = DistillationLossWeights()
  /// Patches of a step.
  public var batchCount = 4
  /// Pixels of a patch's side, before enlargement.
  public var patchSide = 32
  public var seed: UInt64 = 0
  /// At least 1.
  public var threads: Int

  /// What suits a method: the papers' learn bounds alone, by their loss; `best` learns everything, and
  /// compares features by their relative error, which their loss hardly weighs.
  public init(for method: QuantizationMethod, limit: Limit, threads: Int) {
    self.limit = limit
    self.threads = threads
    learnsEverything = method == .best
    rates = [.activationBounds: 3e-3, .weightBounds: 3e-3]
    guard learnsEverything else { return }
    rates[.latentWeights] = 1e-3
    rates[.biases] = 1e-3
    rates[.norms] = 1e-3
    rates[.others] = 5e-4
    loss.norm = .rootMeanSquare
    loss.features = 0.02
  }
}

/// How far distillation is.
public struct DistillationProgress: Hashable, Sendable {
  /// Steps taken.
  public let stepCount: Int
  /// The share of the limit that is used up, 0 to 1.
  public let share: Double
  /// The last step's loss, before it.
  public let loss: Double
}

/// What distillation did.
public struct DistillationOutcome: Hashable, Sendable {
  public let stepCount: Int
  /// mean|O_Q − O_F| over patches that were not learned from, in units of a picture's range: at first,
  /// and of what was kept.
  public let errorBefore: Double
  public let errorAfter: Double
}
