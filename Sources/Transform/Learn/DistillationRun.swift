import Imaging
import Storage
import SuperResolution

/// A distillation between two of its steps: the state that determines the next ones.
///
/// The student is compared with its teacher several times in a run, on patches that are not used
/// for training. The best state is kept, unless it is the state before any step.
struct DistillationRun: Sendable {
  /// A state that did better than all previous ones.
  struct Best: Sendable {
    let values: [Float]
    let stepCount: Int
  }

  /// The state besides parameters and patches.
  struct Record: Hashable, Sendable {
    /// The PSNR in dB before any step, in the best state and in the last comparison.
    var firstPSNR: Double
    var bestPSNR: Double
    var lastPSNR: Double
    var firstLoss: Double?
    var lastLoss: Double?
    /// Comparisons since the last gain.
    var vainComparisonCount = 0
  }

  /// Comparisons in a run, besides the one before any step.
  private static let comparisonsPerRun = 8.0

  let settings: DistillationSettings
  private let validation: ValidationPatches
  var distillation: Distillation
  var training: PatchSampler
  var best: Best?
  var record: Record
  var pace: Pace

  /// - Throws: `ModelError` for an image that cannot be used.
  init(
    _ distillation: Distillation, _ settings: DistillationSettings, images: ImageFolder,
    validation: ImageFolder?
  ) throws {
    self.distillation = distillation
    self.settings = settings
    self.validation = try ValidationPatches(
      validation ?? images, settings: settings, teacher: distillation)
    training = PatchSampler(
      images, side: settings.patchSide, seed: settings.seed, for: .training)
    let psnr = try self.validation.psnr(of: distillation)
    record = Record(firstPSNR: psnr, bestPSNR: psnr, lastPSNR: psnr)
    pace = Pace(settings.limit)
  }

  /// Whether the patience is exhausted.
  private var isStoppedEarly: Bool {
    settings.patience.map { record.vainComparisonCount >= $0 } ?? false
  }

  var isDone: Bool { pace.share >= 1 || isStoppedEarly }

  /// Takes one step, with a comparison if one is due.
  ///
  /// - Returns: whether there was a comparison.
  /// - Throws: `ModelError` for an image that cannot be used, and for a loss that is not finite.
  mutating func step() throws -> Bool {
    let batch = try training.draw(settings.batchCount)
    let loss = try distillation.differentiate(batch, distillation.teach(batch)).total
    guard loss.isFinite else {
      throw ModelError(
        "the loss of distillation is not finite in step \(distillation.stepCount + 1)")
    }
    record.firstLoss = record.firstLoss ?? loss
    record.lastLoss = loss
    let before = pace.share
    distillation.update(factor: CosineSchedule.factor(share: Float(before)))
    pace.advance()
    let comparisons = Self.comparisonsPerRun
    guard (pace.share * comparisons).rounded(.down) > (before * comparisons).rounded(.down) else {
      return false
    }
    record.lastPSNR = try validation.psnr(of: distillation)
    if record.lastPSNR > record.bestPSNR {
      record.bestPSNR = record.lastPSNR
      record.vainComparisonCount = 0
      best = Best(values: distillation.store.values, stepCount: pace.stepCount)
    } else {
      record.vainComparisonCount += 1
    }
    return true
  }

  var progress: DistillationProgress {
    DistillationProgress(
      stepCount: pace.stepCount, share: pace.share, loss: record.lastLoss ?? 0,
      psnr: record.lastPSNR)
  }

  /// The state that did best; `nil` if it is the one before any step.
  var result: Distillation? {
    best.map { best in
      var result = distillation
      result.store.values = best.values
      return result
    }
  }

  var summary: DistillationSummary {
    DistillationSummary(
      stepCount: pace.stepCount, keptStepCount: best?.stepCount ?? 0,
      isStoppedEarly: pace.share < 1 && isStoppedEarly, seconds: pace.seconds,
      firstLoss: record.firstLoss, lastLoss: record.lastLoss, psnrBefore: record.firstPSNR,
      psnrAfter: record.bestPSNR)
  }
}
