import Formats
import LinearAlgebra
import OrderedCollections

/// Conditions the weights that a recipe would quantize, and leaves everything else bit for bit.
public struct ModelConditioner: Sendable {
  private let archive: TensorArchive
  private let plan: QuantizationPlan
  private let calibration: Calibration?
  private let conditioner: WeightConditioner

  /// Chooses the weights to condition, from the archive's index.
  ///
  /// - Parameters:
  ///   - recipe: its rules that quantize choose the weights; its parts are conditioned apart.
  ///   - calibration: second moments of the inputs; `nil` where nothing is known of them.
  /// - Throws: `TransformError` when the recipe or the calibration does not fit the archive.
  public init(
    _ archive: TensorArchive, recipe: Recipe, calibration: Calibration?, conditioner: Conditioner
  ) throws {
    try calibration?.check(against: archive)
    plan = try QuantizationPlan(archive, recipe: recipe)
    self.archive = archive
    self.calibration = calibration
    self.conditioner = WeightConditioner(conditioner)
  }

  /// The archive with conditioned weights, and what that did to each matrix.
  ///
  /// Names that share a tensor share the conditioned one. Conditioned weights wait in a file without a
  /// name until they are asked for, so that memory is bounded by the largest weights.
  ///
  /// - Parameters:
  ///   - threads: at least 1; the result does not depend on it.
  ///   - folder: a folder on a disk with room for the conditioned weights.
  /// - Throws: `TransformError`, `FormatError`, with the tensor that failed.
  public func conditioned(
    threads: Int, keepingWeightsIn folder: String, progress: WriteProgress? = nil
  ) throws -> (archive: TensorArchive, matrices: [ConditionedMatrix]) {
    let jobs = try jobs()
    let scratch = try ScratchFile(in: folder)
    let order = jobs.indices.sorted { (jobs[$0].cost, $1) > (jobs[$1].cost, $0) }
    let sorted = try parallelMap(count: jobs.count, threads: threads) { position in
      let job = jobs[order[position]]
      let report = try condition(job, to: scratch)
      progress?(job.name, job.rows * job.columns * 4)
      return report
    }
    var reports = [ConditionedMatrix?](repeating: nil, count: jobs.count)
    for (position, index) in order.enumerated() { reports[index] = sorted[position] }
    let matrices = reports.compactMap(\.self)
    var result = archive
    var replaced: Set<String> = []
    for (job, report) in zip(jobs, matrices)
    where report.isChanged && replaced.insert(job.name).inserted {
      try replace(job, by: scratch, in: &result)
    }
    return (result, matrices)
  }

  private struct Job: Sendable {
    let name: String
    let part: Int
    let partCount: Int
    let rows: Int
    let columns: Int
    let moment: Matrix?
    /// Where the tensor's elements begin in the scratch file, and the bytes of one.
    let offset: Int
    let elementWidth: Int

    var partByteCount: Int { rows * columns * elementWidth }

    /// Grows with the operations of a decomposition.
    var cost: Int { rows * columns * min(rows, columns) }

    func report(_ part: WeightConditioner.Part) -> ConditionedMatrix {
      ConditionedMatrix(
        name: name, part: partCount > 1 ? self.part : nil, rows: rows, columns: columns,
        isCalibrated: moment != nil,
        conditionNumberBefore: part.outcome.conditionNumberBefore,
        conditionNumberAfter: part.outcome.conditionNumberAfter,
        iterationCount: part.outcome.iterationCount,
        relativeOutputError: part.values == nil ? 0 : part.outcome.relativeOutputError,
        isChanged: part.values != nil)
    }
  }

  private func jobs() throws -> [Job] {
    var end = 0
    return plan.quantizedNames.flatMap { name -> [Job] in
      guard let quantization = plan.entries[name]?.quantization,
        let tensor = archive.tensors[name], let width = tensor.elementType.byteWidth
      else { return [] }
      let layout = quantization.layout
      let offset = end
      end += tensor.byteCount
      let moment = calibration?.moment(ofWeight: name, columns: layout.columns)
      return (0..<quantization.stackedCount).map { part in
        Job(
          name: name, part: part, partCount: quantization.stackedCount,
          rows: layout.rows / quantization.stackedCount, columns: layout.columns, moment: moment,
          offset: offset, elementWidth: width)
      }
    }
  }

  /// Conditions one part, and puts it in its place, changed or not.
  private func condition(_ job: Job, to scratch: ScratchFile) throws -> ConditionedMatrix {
    guard let tensor = archive.tensors[job.name] else {
      throw TransformError(
        .notPlanned(reason: "the plan is for an archive with a tensor of this name"),
        tensor: job.name)
    }
    let values = try locatingErrors(tensor: job.name) { try tensor.doubleValues() }
    if let element = values.firstIndex(where: { !$0.isFinite }) {
      throw TransformError(
        .notFinite(value: "\(values[element])", element: element), tensor: job.name)
    }
    let count = job.rows * job.columns
    let original = Array(values[job.part * count..<(job.part + 1) * count])
    do {
      let part = try conditioner.condition(
        original, rows: job.rows, columns: job.columns, elementType: tensor.elementType,
        moment: job.moment)
      try scratch.write(
        tensor.elementType.bytes(of: part.values ?? original),
        at: job.offset + job.part * job.partByteCount)
      return job.report(part)
    } catch let error as LAPACKError {
      throw TransformError(.cannotCondition(reason: "\(error)"), tensor: job.name)
    } catch var error as TransformError {
      error.tensor = error.tensor ?? job.name
      throw error
    }
  }

  /// Lets all names of a tensor stand for what was put in its place.
  private func replace(
    _ job: Job, by scratch: ScratchFile, in result: inout TensorArchive
  ) throws {
    guard let tensor = archive.tensors[job.name] else { return }
    let byteCount = tensor.byteCount
    let replacement = try Tensor(
      elementType: tensor.elementType, shape: tensor.shape,
      storage: TensorStorage(byteCount: byteCount) {
        try scratch.bytes(at: job.offset, count: byteCount)
      }, elementOffset: 0, strides: tensor.shape.rowMajorStrides)
    for (other, entry) in plan.entries where other == job.name || entry.sharedWith == job.name {
      result.tensors[other] = replacement
    }
  }
}
