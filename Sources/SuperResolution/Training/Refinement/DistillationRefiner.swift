import Formats
import OrderedCollections
import Transform

/// Refines a quantized model by distillation from the model in full precision, on patches of pictures.
///
/// Now and then the student is compared with its teacher on patches that are not learned from; what
/// did best there is the result, which is the model as it came if nothing did better.
public struct DistillationRefiner: QuantizationRefiner {
  public let settings: DistillationSettings
  public let pictures: ReducedPictures
  private let report: @Sendable (DistillationProgress) -> Void
  private let completion: @Sendable (DistillationOutcome) -> Void

  /// Patches to compare on, and how often that is done.
  private static let validationCount = 8
  private static let validationsPerRun = 8.0

  /// - Parameters:
  ///   - report: called after each step.
  ///   - completion: called at the end.
  public init(
    _ settings: DistillationSettings, pictures: ReducedPictures,
    report: @escaping @Sendable (DistillationProgress) -> Void = { _ in },
    completion: @escaping @Sendable (DistillationOutcome) -> Void = { _ in }
  ) {
    self.settings = settings
    self.pictures = pictures
    self.report = report
    self.completion = completion
  }

  /// - Throws: `SuperResolutionError` for a model that cannot be trained, a picture that cannot be
  ///   used, and a loss that is no number; `FormatError` on reading tensors.
  public func refined(_ model: QuantizedModel, original: TensorArchive) throws -> QuantizedModel {
    let start = try QuantizedStudent(
      model, original: original, isLearned: settings.learnsEverything)
    var options = Distillation.Options(
      optimizer: Adam(rates: settings.rates), threads: settings.threads)
    options.loss = settings.loss
    var distillation = try Distillation(
      teacher: original, student: start.archive, weights: start.weights,
      activations: Array(model.activations.values), options)
    let (best, outcome) = try learn(&distillation)
    completion(outcome)
    return try best.map { try start.model(learned: $0) } ?? model
  }

  /// - Returns: what did best, `nil` for the state before any step.
  private func learn(_ distillation: inout Distillation) throws -> (
    best: Distillation?, outcome: DistillationOutcome
  ) {
    func sampler(_ purpose: PatchSampler.Purpose) -> PatchSampler {
      PatchSampler(pictures, side: settings.patchSide, seed: settings.seed, for: purpose)
    }
    var validation = sampler(.validation)
    let unseen = try validation.draw(Self.validationCount)
    let truth = try distillation.teach(unseen)
    var training = sampler(.training)
    let first = try error(of: distillation, unseen, truth)
    var least = first
    var best: Distillation?
    var pace = Pace(settings.limit)
    var nextValidation = 1 / Self.validationsPerRun
    while pace.share < 1 {
      let batch = try training.draw(settings.batchCount)
      let loss = try distillation.differentiate(batch, distillation.teach(batch)).total
      let number = distillation.stepCount + 1
      guard loss.isFinite else {
        throw SuperResolutionError("the loss of distillation is not finite in step \(number)")
      }
      distillation.update(factor: CosineSchedule.factor(share: Float(pace.share)))
      pace.advance()
      report(DistillationProgress(stepCount: number, share: pace.share, loss: loss))
      guard pace.share >= nextValidation else { continue }
      nextValidation = pace.share + 1 / Self.validationsPerRun
      // The last state is always compared: that with the lowest rates.
      if nextValidation > 1, pace.share < 1 { nextValidation = 1 }
      let error = try error(of: distillation, unseen, truth)
      if error < least { (least, best) = (error, distillation) }
    }
    return (
      best,
      DistillationOutcome(
        stepCount: distillation.stepCount, errorBefore: first, errorAfter: least)
    )
  }

  /// mean|O_Q − O_F| over all samples of all patches.
  private func error(
    of distillation: Distillation, _ patches: [Picture], _ truth: [TeacherOutput]
  ) throws -> Double {
    var (sum, count) = (0.0, 0)
    for (found, target) in zip(try distillation.upscale(patches), truth) {
      for (a, b) in zip(found.samples, target.picture.samples) { sum += Double(abs(a - b)) }
      count += found.samples.count
    }
    return sum / Double(max(1, count))
  }
}

/// How much of a limit is used up.
private struct Pace {
  private let limit: DistillationSettings.Limit
  private let clock = ContinuousClock()
  private let start: ContinuousClock.Instant
  private var stepCount = 0
  private(set) var share = 0.0

  init(_ limit: DistillationSettings.Limit) {
    self.limit = limit
    start = clock.now
    measure()
  }

  mutating func advance() {
    stepCount += 1
    measure()
  }

  private mutating func measure() {
    switch limit {
    case .steps(let count):
      share = count > 0 ? min(1, Double(stepCount) / Double(count)) : 1
    case .seconds(let seconds):
      share = seconds > 0 ? min(1, (clock.now - start) / .seconds(seconds)) : 1
    }
  }
}
