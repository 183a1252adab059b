import Formats
import Imaging
import Transform

/// Refines a quantized model by distillation from the model in full precision, on patches of pictures.
///
/// Now and then the student is compared with its teacher on patches that are not learned from; what
/// did best there is the result, which is the model as it came if nothing did better.
public struct DistillationRefiner: QuantizationRefiner {
  /// How long, and on how many patches a step.
  package let settings: DistillationSettings
  /// What is learned from.
  package let pictures: ReducedPictures
  /// What is compared on; `nil` for other patches of the same pictures.
  package let validation: ReducedPictures?
  /// The file that the state is kept in, to go on from it after an interruption; `nil` for none.
  package let checkpoint: String?
  private let report: @Sendable (DistillationProgress) -> Void

  /// A refiner that learns from `pictures`; nothing is read before `refined(_:original:)`.
  ///
  /// - Parameters:
  ///   - checkpoint: a path; what is there already must be the checkpoint of this very distillation.
  ///   - report: called after each step.
  public init(
    _ settings: DistillationSettings, pictures: ReducedPictures,
    validation: ReducedPictures? = nil, checkpoint: String? = nil,
    report: @escaping @Sendable (DistillationProgress) -> Void = { _ in }
  ) {
    self.settings = settings
    self.pictures = pictures
    self.validation = validation
    self.checkpoint = checkpoint
    self.report = report
  }

  /// Distils the model, and returns it as it was when it did best.
  ///
  /// - Throws: `ModelError` for a model that cannot be trained, a picture that cannot be
  ///   used, a loss that is no number, and a checkpoint of another distillation; `ModelError` on
  ///   reading tensors and on writing checkpoints.
  public func refined(_ model: QuantizedModel, original: TensorArchive) throws -> QuantizedModel {
    let start = try QuantizedStudent(
      model, original: original, isLearned: settings.learnsEverything)
    var options = Distillation.Options(
      optimizer: Adam(rates: start.rates(settings)), threads: settings.threads)
    options.loss = settings.loss
    let distillation = try Distillation(
      teacher: original, student: start.archive, weights: start.weights,
      activations: Array(model.activations.values), options)
    var run = try DistillationRun(
      distillation, settings, pictures: pictures, validation: validation)
    var keeper = try checkpoint.map { path in
      try DistillationCheckpoint(
        path: path,
        identity: DistillationIdentity(
          distillation, settings, pictures: pictures, validation: validation))
    }
    try keeper?.restore(&run)
    while !run.isDone {
      let isCompared = try run.step()
      report(run.progress)
      try keeper?.save(run, isDue: isCompared || run.isDone)
    }
    var refined = try run.result.map { try start.model(learned: $0) } ?? model
    refined.distillation = run.summary
    return refined
  }
}
