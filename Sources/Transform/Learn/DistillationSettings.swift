import SuperResolution

/// Settings of the distillation of a quantized model.
package struct DistillationSettings: Hashable, Sendable {
  /// The end of distillation: after a number of steps or of minutes.
  package typealias Limit = DistillationRecipe.Limit

  /// The end of distillation, until which rates fall along half a cosine.
  package var limit: Limit
  /// Whether everything that takes no space in the packed file is learned: latent weights, biases,
  /// norms and all other tensors in full precision. Otherwise only bounds are learned.
  var learnsEverything: Bool
  /// The rates of the groups of parameters (see `Adam.rates`); if everything is learned, these are
  /// the rates at 2 bits (see `QuantizedStudent.rates`).
  var rates: [ParameterGroup: Float]
  var loss = DistillationLossWeights()
  /// Patches per step.
  package var batchCount = DistillationRecipe.standardBatchCount
  /// The side of a patch in pixels, before upscaling.
  package var patchSide = DistillationRecipe.standardPatchSide
  /// The seed from which patches are drawn.
  package var seed: UInt64 = 0
  /// Successive comparisons without a gain after which distillation ends early; `nil` for never.
  package var patience: Int?
  /// The number of threads, at least 1; with a limit in steps, results do not depend on it.
  package var threads: Int

  /// Creates settings for a method. The papers' methods learn only bounds, with the papers' loss.
  /// `best` learns everything, and compares features by their relative error, which the papers'
  /// loss hardly weighs.
  package init(for method: QuantizationMethod, limit: Limit, threads: Int) {
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

  /// Creates the settings that a recipe specifies.
  package init(_ recipe: DistillationRecipe, for method: QuantizationMethod, threads: Int) {
    self.init(for: method, limit: recipe.limit, threads: threads)
    batchCount = recipe.batchCount
    patchSide = recipe.patchSide
    seed = recipe.seed
    patience = recipe.patience
  }
}

/// The progress of a distillation.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// var compressor = try Compressor(archive, recipe: .calibrated(bitWidth: 2)) { event in
///   if case .distilling(let progress) = event { print(progress.stepCount, progress.psnr) }
/// }
/// try compressor.calibrate(with: .images("photos"))
/// try compressor.write(to: "model.condi")
/// ```
public struct DistillationProgress: Hashable, Sendable {
  /// Steps taken so far.
  public let stepCount: Int
  /// The used share of the limit, from 0 to 1.
  public let share: Double
  /// The loss of the last step, before its update.
  public let loss: Double
  /// The PSNR in dB of the last comparison with the full-precision model; see
  /// `DistillationSummary`.
  public let psnr: Double
}
