import Formats
import Imaging
import LinearAlgebra
import Storage
import Transform

/// Learns the bounds of a quantized network, and if asked for its biases, norms and latent weights,
/// from the network before quantization (distillation-oriented quantization of 2DQuant, Liu et al.
/// 2024, section 3.3).
///
/// What goes in: the full-precision checkpoints of the teacher and of the student, which may have
/// been conditioned or corrected; for every weight to be quantized its layout and first bounds; the
/// bounds of activations by the names of sites. What comes out: the same, learned, and the other
/// tensors that were learned.
///
///     var distillation = try Distillation(
///       teacher: archive, student: corrected, weights: weights, activations: bounds, options)
///     for batch in batches { let loss = try distillation.step(batch) }
///     let (weights, bounds, tensors) = (distillation.weights, distillation.activations, …)
///
/// Results do not depend on the number of threads, which share out the pictures of a batch.
struct Distillation: Sendable {
  /// How is learned.
  struct Options: Hashable, Sendable {
    var loss = DistillationLossWeights()
    var optimizer: Adam
    /// `nil` for rates that stay.
    var schedule: CosineSchedule?
    /// At least 1.
    var threads: Int

    init(optimizer: Adam, schedule: CosineSchedule? = nil, threads: Int) {
      self.optimizer = optimizer
      self.schedule = schedule
      self.threads = threads
    }
  }

  let options: Options
  /// How many updates there were.
  var stepCount = 0

  let teacher: DifferentiableNetwork
  let student: DifferentiableNetwork
  let teacherValues: [Float]
  var store: ParameterStore
  let quantization: QuantizationParameters
  private let memory = PoolOfPools()

  /// - Parameters:
  ///   - teacher: a state dictionary, not nested.
  ///   - student: another one of the same architecture.
  ///   - weights: those that are quantized; others stay as they are.
  ///   - activations: those that are quantized.
  /// - Throws: `ModelError` when an archive is no network that can be trained, both differ,
  ///   or a quantizer does not fit; `ModelError` when a tensor cannot be read.
  init(
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
    self.teacher = teacherNetwork
    self.student = studentNetwork
    teacherValues = teacherStore.values
    quantization = try QuantizationParameters(
      weights, activations, sites: studentNetwork.sites, &studentStore)
    store = studentStore
  }

  // MARK: Steps

  /// What the teacher makes of pictures.
  ///
  /// - Throws: `ModelError` when a picture has too few pixels or other channels.
  func teach(_ pictures: [Picture]) throws -> [TeacherOutput] {
    for picture in pictures { try teacher.check(picture) }
    return try mapPictures(pictures.count) { index in
      forward(teacher, teacherValues, quantizers: [], pictures[index])
    }
  }

  /// What the student makes of pictures, as it is now.
  ///
  /// - Throws: `ModelError` when a picture has too few pixels or other channels.
  func upscale(_ pictures: [Picture]) throws -> [Picture] {
    for picture in pictures { try student.check(picture) }
    let rounded = quantization.rounded(store.values)
    let quantizers = quantization.quantizers(store)
    return try mapPictures(pictures.count) { index in
      forward(student, rounded, quantizers: quantizers, pictures[index]).picture
    }
  }

  private func forward(
    _ network: DifferentiableNetwork, _ values: [Float], quantizers: [SiteQuantizer?],
    _ picture: Picture
  ) -> TeacherOutput {
    memory.withPool { pool in
      values.withUnsafeBufferPointer { values in
        guard let parameters = values.baseAddress else { preconditionFailure("no parameters") }
        let tape = Tape(
          pool: pool, parameters: parameters, gradients: nil, isWanted: [],
          quantizers: quantizers)
        let pass = network.run(picture, tape)
        return TeacherOutput(
          picture: network.picture(pass, of: picture),
          groups: pass.groups.map {
            Array(UnsafeBufferPointer(start: $0.values, count: $0.count))
          })
      }
    }
  }

  /// The mean loss over pictures, and its gradients by all that is learned in `store`.
  ///
  /// - Parameter targets: what `teach` gave for these pictures.
  /// - Throws: `ModelError` when a picture has too few pixels or other channels.
  /// - Precondition: there are as many targets as pictures, of their sizes.
  mutating func differentiate(
    _ pictures: [Picture], _ targets: [TeacherOutput]
  ) throws -> DistillationLoss {
    precondition(pictures.count == targets.count, "a target for every picture")
    for picture in pictures { try student.check(picture) }
    let rounded = quantization.rounded(store.values)
    let quantizers = quantization.quantizers(store)
    let isWanted = quantization.isWanted(store, options.optimizer)
    let sum = OrderedSum(count: store.values.count)
    let (student, weights, memory) = (student, options.loss, memory)
    let share = 1 / Double(max(1, pictures.count))
    let losses = try mapPictures(pictures.count) { index in
      var gradients = sum.takeZeros()
      let loss = memory.withPool { pool in
        Self.run(
          student, rounded, &gradients, isWanted: isWanted, quantizers: quantizers, pool
        ) { tape in
          let pass = student.run(pictures[index], tape)
          return weights.seed(
            pass, range: student.network.range, target: targets[index], share: share, pool)
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

  /// Maps `transform` over the pictures of a batch, on the threads.
  ///
  /// BLAS keeps to one thread even where there is but one picture or one thread, since its sums depend
  /// on how many it has.
  private func mapPictures<Result: Sendable>(
    _ count: Int, _ transform: @Sendable (Int) throws -> Result
  ) throws -> [Result] {
    try BLASThreads.runningSingleThreaded {
      try parallelMap(count: count, threads: options.threads, transform)
    }
  }

  /// One step of the optimizer against the gradients that `differentiate` gave.
  ///
  /// - Parameter factor: what rates are multiplied with; `nil` for what the schedule says.
  /// - Returns: the Euclidean norm of the gradients before any clipping.
  @discardableResult
  mutating func update(factor: Float? = nil) -> Float {
    stepCount += 1
    let norm = options.optimizer.update(
      &store, number: stepCount, factor: factor ?? options.schedule?.factor(stepCount) ?? 1)
    quantization.keepApart(&store)
    return norm
  }

  /// All of one step: what the teacher makes of the pictures, the loss, and an update.
  ///
  /// - Returns: the loss before the update.
  /// - Throws: `ModelError` when a picture has too few pixels or other channels.
  mutating func step(_ pictures: [Picture]) throws -> DistillationLoss {
    let loss = try differentiate(pictures, teach(pictures))
    update()
    return loss
  }
}
