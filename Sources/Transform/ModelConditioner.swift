import Formats
import LinearAlgebra
import OrderedCollections
import Storage

/// Conditions the weights that a recipe would quantize, and keeps every bit of everything else.
package struct ModelConditioner: Sendable {
  private let archive: TensorArchive
  private let plan: QuantizationPlan
  private let calibration: Calibration?
  private let conditioner: WeightConditioner

  /// Chooses the weights to condition, from the archive's index.
  ///
  /// - Parameters:
  ///   - recipe: the recipe whose rules choose the weights; stacked parts are conditioned
  ///     separately.
  ///   - calibration: second moments of the inputs; `nil` if they are unknown.
  /// - Throws: `ModelError` when the recipe or the calibration does not fit the archive.
  package init(
    _ archive: TensorArchive, recipe: Recipe, calibration: Calibration?, conditioner: Conditioner
  ) throws {
    try calibration?.check(against: archive)
    plan = try QuantizationPlan(archive, recipe: recipe)
    self.archive = archive
    self.calibration = calibration
    self.conditioner = WeightConditioner(conditioner)
  }

  /// Returns the archive with conditioned weights, and the result for each matrix.
  ///
  /// Names that share a tensor share the conditioned one. Conditioned weights are kept in an
  /// unnamed file until they are loaded, so memory is bounded by the largest weights.
  ///
  /// - Parameters:
  ///   - threads: at least 1; the result does not depend on it.
  ///   - folder: a folder on a disk with room for the conditioned weights.
  /// - Throws: `ModelError` with the tensor that failed.
  package func conditioned(
    threads: Int, keepingWeightsIn folder: String, progress: WriteProgress? = nil
  ) throws -> (archive: TensorArchive, matrices: [ConditionedMatrix]) {
    let jobs = try jobs()
    let scratch = try ScratchFile(in: folder, reserving: jobs.last?.end ?? 0)
    let order = jobs.indices.sorted { (jobs[$0].cost, $1) > (jobs[$1].cost, $0) }
    let sorted = try parallelMap(count: jobs.count, threads: threads) { position in
      let job = jobs[order[position]]
      let reports = try condition(job, to: scratch)
      progress?(job.name, job.partCount * job.partElementCount * 4)
      return reports
    }
    var reports = [[ConditionedMatrix]](repeating: [], count: jobs.count)
    for (position, index) in order.enumerated() { reports[index] = sorted[position] }
    var result = archive
    for (job, parts) in zip(jobs, reports) where parts.contains(where: \.isChanged) {
      try replace(job, by: scratch, in: &result)
    }
    return (result, Array(reports.joined()))
  }

  /// One weight with all its parts, which is read once.
  private struct Job: Sendable {
    let name: String
    let partCount: Int
    /// The rows of each part.
    let rows: Int
    let columns: Int
    let moment: Matrix?
    /// The offset of the tensor's elements in the scratch file, and the bytes of one element.
    let offset: Int
    let elementWidth: Int

    var partElementCount: Int { rows * columns }

    /// The end of its elements in the scratch file.
    var end: Int { offset + partCount * partElementCount * elementWidth }

    /// A measure of the operations of the decompositions.
    var cost: Int { partCount * partElementCount * min(rows, columns) }

    func report(_ part: WeightConditioner.Part, at index: Int) -> ConditionedMatrix {
      ConditionedMatrix(
        name: name, part: partCount > 1 ? index : nil, rows: rows, columns: columns,
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
    return plan.quantizedNames.compactMap { name in
      guard let quantization = plan.entries[name]?.quantization,
        let tensor = archive.tensors[name], let width = tensor.elementType.byteWidth
      else { return nil }
      let layout = quantization.layout
      let offset = end
      end += tensor.byteCount
      return Job(
        name: name, partCount: quantization.stackedCount,
        rows: layout.rows / quantization.stackedCount, columns: layout.columns,
        moment: calibration?.moment(ofWeight: name, columns: layout.columns),
        offset: offset, elementWidth: width)
    }
  }

  /// Conditions the parts of a weight and writes them to the scratch file, changed or not.
  private func condition(_ job: Job, to scratch: ScratchFile) throws -> [ConditionedMatrix] {
    guard let tensor = archive.tensors[job.name] else {
      throw ModelError(
        "the archive has no tensor of this name, but the plan does",
        tensor: job.name)
    }
    let values = try locatingErrors(tensor: job.name) { try tensor.doubleValues() }
    if let element = values.firstIndex(where: { !$0.isFinite }) {
      throw ModelError(
        "element \(element) is \(values[element]), which cannot be conditioned", tensor: job.name)
    }
    let count = job.partElementCount
    do {
      return try (0..<job.partCount).map { index in
        let original = Array(values[index * count..<(index + 1) * count])
        let part = try conditioner.condition(
          original, rows: job.rows, columns: job.columns, elementType: tensor.elementType,
          moment: job.moment)
        try scratch.write(
          tensor.elementType.bytes(of: part.values ?? original),
          at: job.offset + index * count * job.elementWidth)
        return job.report(part, at: index)
      }
    } catch let error as LAPACKError {
      throw ModelError("\(error)", tensor: job.name)
    } catch let error as ModelError {
      throw error.located(tensor: job.name)
    }
  }

  /// Replaces a tensor under all its names by the conditioned one.
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
