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

  /// The archive with conditioned weights in memory, and what that did to each matrix.
  ///
  /// Names that share a tensor share the conditioned one.
  ///
  /// - Parameter threads: at least 1; the result does not depend on it.
  /// - Throws: `TransformError`, `FormatError`, with the tensor that failed.
  public func conditioned(threads: Int, progress: WriteProgress? = nil) throws -> (
    archive: TensorArchive, matrices: [ConditionedMatrix]
  ) {
    let jobs = try jobs()
    let order = jobs.indices.sorted { (jobs[$0].cost, $1) > (jobs[$1].cost, $0) }
    let sorted = try parallelMap(count: jobs.count, threads: threads) { position in
      let job = jobs[order[position]]
      let part = try condition(job)
      progress?(job.name, job.rows * job.columns * 4)
      return part
    }
    var parts = [WeightConditioner.Part?](repeating: nil, count: jobs.count)
    for (position, index) in order.enumerated() { parts[index] = sorted[position] }
    var result = archive
    var matrices: [ConditionedMatrix] = []
    var changed: [String: [Int: [Double]]] = [:]
    for (job, part) in zip(jobs, parts) {
      guard let part else { continue }
      matrices.append(job.report(part))
      if let values = part.values { changed[job.name, default: [:]][job.part] = values }
    }
    for (name, parts) in changed { try replace(name, parts, in: &result) }
    return (result, matrices)
  }

  private struct Job: Sendable {
    let name: String
    let part: Int
    let partCount: Int
    let rows: Int
    let columns: Int
    let moment: Matrix?

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
    plan.quantizedNames.flatMap { name -> [Job] in
      guard let quantization = plan.entries[name]?.quantization else { return [] }
      let layout = quantization.layout
      let moment = calibration?.moment(ofWeight: name, columns: layout.columns)
      return (0..<quantization.stackedCount).map { part in
        Job(
          name: name, part: part, partCount: quantization.stackedCount,
          rows: layout.rows / quantization.stackedCount, columns: layout.columns, moment: moment)
      }
    }
  }

  private func condition(_ job: Job) throws -> WeightConditioner.Part {
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
    do {
      return try conditioner.condition(
        Array(values[job.part * count..<(job.part + 1) * count]), rows: job.rows,
        columns: job.columns, elementType: tensor.elementType, moment: job.moment)
    } catch let error as LAPACKError {
      throw TransformError(.cannotCondition(reason: "\(error)"), tensor: job.name)
    } catch var error as TransformError {
      error.tensor = error.tensor ?? job.name
      throw error
    }
  }

  /// Puts conditioned parts in the place of the old ones, under every name of the tensor.
  private func replace(
    _ name: String, _ parts: [Int: [Double]], in result: inout TensorArchive
  ) throws {
    guard let tensor = archive.tensors[name] else { return }
    var values = try locatingErrors(tensor: name) { try tensor.doubleValues() }
    for (part, conditioned) in parts {
      let start = part * conditioned.count
      values.replaceSubrange(start..<start + conditioned.count, with: conditioned)
    }
    let replacement = try Tensor(
      elementType: tensor.elementType, shape: tensor.shape,
      storage: TensorStorage(tensor.elementType.bytes(of: values)), elementOffset: 0,
      strides: tensor.shape.rowMajorStrides)
    for (other, entry) in plan.entries where other == name || entry.sharedWith == name {
      result.tensors[other] = replacement
    }
  }
}
