import Formats
import Imaging
import Storage
import SuperResolution

/// Refines a quantized model by distillation from the full-precision model, on patches of images.
///
/// The student is compared with its teacher at intervals, on patches that are not used for
/// training. The result is the state that did best there, or the given model if no state did
/// better. Layouts, bit widths and names stay as they are planned; bounds, scales, codes, biases,
/// tensors in full precision and the bounds of activations may change.
package struct DistillationRefiner: Sendable {
  /// The length of the distillation and its hyperparameters.
  package let settings: DistillationSettings
  /// The images to train on.
  package let images: ImageFolder
  /// The images for comparisons; `nil` for other patches of the training images.
  package let validation: ImageFolder?
  /// The path of the file with the state, from which an interrupted distillation continues; `nil`
  /// for no file.
  package let checkpoint: String?
  private let remark: @Sendable (String) -> Void
  private let report: @Sendable (DistillationProgress) -> Void

  /// Creates a refiner that trains on `images`; nothing is read before `refined(_:original:)`.
  ///
  /// - Parameters:
  ///   - checkpoint: a path; an existing file must be a checkpoint of the same distillation.
  ///   - report: called after each step.
  ///   - remark: called with what is not learned.
  package init(
    _ settings: DistillationSettings, images: ImageFolder,
    validation: ImageFolder? = nil, checkpoint: String? = nil,
    report: @escaping @Sendable (DistillationProgress) -> Void = { _ in },
    remark: @escaping @Sendable (String) -> Void = { _ in }
  ) {
    self.settings = settings
    self.images = images
    self.validation = validation
    self.checkpoint = checkpoint
    self.remark = remark
    self.report = report
  }

  /// Distils the model, and returns the state that did best.
  ///
  /// - Throws: `ModelError` for a model that cannot be trained, an image that cannot be used, a
  ///   loss that is not finite, a checkpoint of another distillation, a tensor that cannot be read,
  ///   and a checkpoint that cannot be written.
  package func refined(_ model: QuantizedModel, original: TensorArchive) throws -> QuantizedModel {
    let start = try QuantizedStudent(
      model, original: original, isLearned: settings.learnsEverything)
    var options = Distillation.Options(
      optimizer: Adam(rates: start.rates(settings)), threads: settings.threads)
    options.loss = settings.loss
    let distillation = try Distillation(
      teacher: original, student: start.archive, weights: start.weights,
      activations: Array(model.activations.values), options)
    if !distillation.fixedWeights.isEmpty {
      remark(
        "not learned are the bounds of weights of which the network makes others: "
          + distillation.fixedWeights.quotedList(limit: 3))
    }
    var run = try DistillationRun(
      distillation, settings, images: images, validation: validation)
    var keeper = try checkpoint.map { path in
      try DistillationCheckpoint(
        path: path,
        identity: DistillationIdentity(
          distillation, settings, images: images, validation: validation))
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
