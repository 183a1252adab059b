import Formats
import Imaging
import LinearAlgebra
import Storage

/// Learns the bounds of a quantized network, and optionally its biases, norms and latent weights,
/// from the network before quantization (distillation-oriented quantization of 2DQuant, Liu et al.
/// 2024, section 3.3).
///
/// The inputs are the full-precision checkpoints of the teacher and of the student, which may have
/// been conditioned or corrected; the layout and the initial bounds of every weight to be
/// quantized; and the bounds of activations by the names of sites. The outputs are the same bounds,
/// learned, and the other learned tensors.
///
///     var distillation = try Distillation(
///       teacher: archive, student: corrected, weights: weights, activations: bounds, options)
///     for batch in batches { let loss = try distillation.step(batch) }
///     let (weights, bounds, tensors) = (distillation.weights, distillation.activations, …)
///
/// The threads share the images of a batch; results do not depend on the number of threads.
package struct Distillation: Sendable {
  /// Hyperparameters of a training run.
  package struct Options: Hashable, Sendable {
    package var loss = DistillationLossWeights()
    package var optimizer: Adam
    /// `nil` for constant rates.
    package var schedule: CosineSchedule?
    /// At least 1.
    package var threads: Int

    package init(optimizer: Adam, schedule: CosineSchedule? = nil, threads: Int) {
      self.optimizer = optimizer
      self.schedule = schedule
      self.threads = threads
    }
  }

  package let options: Options
  /// The number of updates so far.
  package var stepCount = 0

  let teacher: DifferentiableNetwork
  let student: DifferentiableNetwork
  package let teacherValues: [Float]
  package var store: ParameterStore
  let quantization: QuantizationParameters
  /// Quantized weights that the network does not use as they are, but what is made of them: they keep
  /// their bounds.
  package let fixedWeights: [String]
  private let memory = PoolOfPools()

  /// - Parameters:
  ///   - teacher: a state dictionary, not nested.
  ///   - student: another state dictionary of the same architecture.
  ///   - weights: the weights to quantize; the others stay in full precision.
  ///   - activations: the activations to quantize.
  /// - Throws: `ModelError` when an archive is not a network that can be trained, when the two
  ///   networks differ, when a quantizer does not fit, or when a tensor cannot be read.
  package init(
    teacher: TensorArchive, student: TensorArchive, weights: [WeightQuantization],
    activations: [ActivationQuantizer], _ options: Options
  ) throws {
    precondition(options.threads >= 1, "at least one thread is needed")
    self.options = options
    let (teacherNetwork, teacherStore) = try DifferentiableNetwork.load(teacher)
    var (studentNetwork, studentStore) = try DifferentiableNetwork.load(student)
    guard
      teacherStore.entries.map(\.name).sorted() == studentStore.entries.map(\.name).sorted(),
      teacherStore.entries.allSatisfy({
        studentStore[$0.name]?.count == $0.reference.count
      })
    else { throw ModelError("the teacher and the student are different networks") }
    let fixed = weights.filter { studentNetwork.fixedTensors.contains($0.name) }
    if !fixed.isEmpty {
      (studentNetwork, studentStore) = try DifferentiableNetwork.load(student.rounding(fixed))
    }
    fixedWeights = fixed.map(\.name)
    self.teacher = teacherNetwork
    self.student = studentNetwork
    teacherValues = teacherStore.values
    quantization = try QuantizationParameters(
      weights.filter { !studentNetwork.fixedTensors.contains($0.name) }, activations,
      sites: studentNetwork.sites, &studentStore)
    store = studentStore
  }

  // MARK: Steps

  /// Returns the teacher's output for each image.
  ///
  /// - Throws: `ModelError` when an image has too few pixels or the wrong number of channels.
  package func teach(_ images: [Image]) throws -> [TeacherOutput] {
    for image in images { try teacher.check(image) }
    return try mapImages(images.count) { index in
      forward(teacher, teacherValues, quantizers: [], images[index])
    }
  }

  /// Returns the current student's output for each image.
  ///
  /// - Throws: `ModelError` when an image has too few pixels or the wrong number of channels.
  package func upscale(_ images: [Image]) throws -> [Image] {
    for image in images { try student.check(image) }
    let rounded = quantization.rounded(store.values)
    let quantizers = quantization.quantizers(store)
    return try mapImages(images.count) { index in
      forward(student, rounded, quantizers: quantizers, images[index]).image
    }
  }

  private func forward(
    _ network: DifferentiableNetwork, _ values: [Float], quantizers: [SiteQuantizer?],
    _ image: Image
  ) -> TeacherOutput {
    memory.withPool { pool in
      values.withUnsafeBufferPointer { values in
        guard let parameters = values.baseAddress else { preconditionFailure("no parameters") }
        let tape = Tape(
          pool: pool, parameters: parameters, gradients: nil, isWanted: [],
          quantizers: quantizers)
        let pass = network.run(image, tape)
        return TeacherOutput(
          image: network.image(pass, of: image),
          groups: pass.groups.map {
            Array(UnsafeBufferPointer(start: $0.values, count: $0.count))
          })
      }
    }
  }

  /// Returns the mean loss over images, and stores its gradients in `store`.
  ///
  /// - Parameter targets: the result of `teach` for these images.
  /// - Throws: `ModelError` when an image has too few pixels or the wrong number of channels.
  /// - Precondition: `targets` has one entry per image, of its size.
  package mutating func differentiate(
    _ images: [Image], _ targets: [TeacherOutput]
  ) throws -> DistillationLoss {
    precondition(images.count == targets.count, "one target per image")
    for image in images { try student.check(image) }
    let rounded = quantization.rounded(store.values)
    let quantizers = quantization.quantizers(store)
    let isWanted = quantization.isWanted(store, options.optimizer)
    let sum = OrderedSum(count: store.values.count)
    let (student, weights, memory) = (student, options.loss, memory)
    let share = 1 / Double(max(1, images.count))
    let losses = try mapImages(images.count) { index in
      var gradients = sum.takeZeros()
      let loss = memory.withPool { pool in
        Self.run(
          student, rounded, &gradients, isWanted: isWanted, quantizers: quantizers, pool
        ) { tape in
          let pass = student.run(images[index], tape)
          return weights.seed(
            pass, range: student.network.outputRange, target: targets[index], share: share, pool)
        }
      }
      sum.add(gradients, number: index)
      return loss
    }
    store.gradients = sum.take()
    quantization.differentiate(&store)
    return losses.reduce(into: .zero, +=)
  }

  private static func run(
    _ network: DifferentiableNetwork, _ values: [Float], _ gradients: inout [Float],
    isWanted: [Bool], quantizers: [SiteQuantizer?], _ pool: BufferPool,
    _ forward: (Tape) -> DistillationLoss
  ) -> DistillationLoss {
    values.withUnsafeBufferPointer { values in
      gradients.withUnsafeMutableBufferPointer { gradients in
        guard let parameters = values.baseAddress else { preconditionFailure("no parameters") }
        let tape = Tape(
          pool: pool, parameters: parameters, gradients: gradients.baseAddress,
          isWanted: isWanted, quantizers: quantizers)
        let loss = forward(tape)
        tape.backward()
        return loss
      }
    }
  }

  /// Maps `transform` over the images of a batch, on several threads.
  ///
  /// BLAS uses one thread even if there is only one image or one thread, since its sums depend on
  /// its number of threads.
  private func mapImages<Result: Sendable>(
    _ count: Int, _ transform: @Sendable (Int) throws -> Result
  ) throws -> [Result] {
    try BLASThreads.runningSingleThreaded {
      try parallelMap(count: count, threads: options.threads, transform)
    }
  }

  /// Takes one step of the optimizer against the gradients that `differentiate` computed.
  ///
  /// - Parameter factor: the factor of the rates; `nil` for that of the schedule.
  /// - Returns: the Euclidean norm of the gradients before any clipping.
  @discardableResult
  package mutating func update(factor: Float? = nil) -> Float {
    stepCount += 1
    let norm = options.optimizer.update(
      &store, number: stepCount, factor: factor ?? options.schedule?.factor(stepCount) ?? 1)
    quantization.keepApart(&store)
    return norm
  }

  /// Performs one complete step: runs the teacher, computes the loss, and updates the parameters.
  ///
  /// - Returns: the loss before the update.
  /// - Throws: `ModelError` when an image has too few pixels or the wrong number of channels.
  package mutating func step(_ images: [Image]) throws -> DistillationLoss {
    let loss = try differentiate(images, teach(images))
    update()
    return loss
  }
}

extension TensorArchive {
  /// Returns the archive with rounded weights.
  fileprivate func rounding(_ weights: [WeightQuantization]) throws -> TensorArchive {
    var archive = self
    for weight in weights {
      guard let tensor = tensors[weight.name] else { continue }
      var store = ParameterStore()
      store.add(weight.name, try tensor.floatValues(), group: nil)
      let rounding = try QuantizationParameters([weight], [], sites: [], &store)
      let rounded = rounding.rounded(store.values).prefix(tensor.shape.elementCount)
      archive.tensors[weight.name] = try Tensor(
        elementType: .float32, shape: tensor.shape, bytes: SharedBytes(elementsOf: Array(rounded)))
    }
    return archive
  }
}
