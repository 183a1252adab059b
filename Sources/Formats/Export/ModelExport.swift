import FoundationEssentials
import OrderedCollections
import Storage
import Synchronization

/// The export of a packed model to another runtime's form.
///
/// Every tensor is compared with the values that `PackedModel` dequantizes: those that the target's
/// reader computes, by its documented arithmetic, are either the same or the largest difference is
/// reported.
///
/// ```swift
/// let model = try PackedModel(parsing: InputFile(path: "model.condi"))
/// let outcome = try ModelExport(model, to: .onnx).write(to: "model.onnx")
/// print(outcome.tensors.map(\.largestError).max() ?? 0)  // 0.0: DequantizeLinear is exact
/// ```
public struct ModelExport: Sendable {
  private let model: PackedModel
  private let target: ExportTarget
  private let options: ExportOptions
  private let budget: MemoryBudget

  /// Creates an export; `write` does all the work.
  public init(_ model: PackedModel, to target: ExportTarget, options: ExportOptions = .init()) {
    self.init(
      model, to: target, options: options,
      budget: .forMatrices(ofElementCounts: model.header.entries.map(\.quantizedElementCount)))
  }

  /// - Parameter budget: the memory for tensors that are compared at the same time.
  init(
    _ model: PackedModel, to target: ExportTarget, options: ExportOptions, budget: MemoryBudget
  ) {
    self.model = model
    self.target = target
    self.options = options
    self.budget = budget
  }

  /// Writes the model to `path`, a folder for MLX and a file for the others; each file appears
  /// whole or not at all. The result does not depend on how tasks are run.
  ///
  /// - Throws: `ModelError` that names the first tensor that the target cannot hold under the
  ///   options, and when reading or writing fails.
  public func write(
    to path: String, replacesExisting: Bool = false,
    runningTasks run: @escaping TaskRunner = sequentially,
    progress: WriteProgress? = nil
  ) throws -> ExportOutcome {
    try checkOutput(path, replacesExisting: replacesExisting)
    func write(_ exporter: some ModelExporter) throws -> ExportOutcome {
      let planned = try planned(exporter, runningTasks: run)
      var description = ExportDescription(model.header)
      for item in planned where item.plan.paddedColumns != nil {
        description.columnsBeforePadding[item.record.name] = item.record.shape.last
      }
      let output = try locatingErrors(path: path) {
        try exporter.output(planned.flatMap(\.plan.pieces), of: description)
      }
      // One after another, so that one tensor is in memory.
      let files = try output.write(
        to: path, replacesExisting: replacesExisting, runningTasks: sequentially,
        progress: progress
      ).map(ExportOutcome.File.init)
      return ExportOutcome(tensors: planned.map(\.record), files: files, notes: notes)
    }
    return try withExporter { try write($0) }
  }

  /// Checks before the work that nothing will be in the way of the output files.
  private func checkOutput(_ path: String, replacesExisting: Bool) throws {
    // MLX's files lie in a folder, which need not exist yet.
    let files =
      target == .mlx
      ? MLXExporter.fileNames.map { "\(path)/\($0)" }
        .filter(FileManager.default.fileExists(atPath:)) : [path]
    for file in files {
      try OutputDestination.check(file, replacesExisting: replacesExisting)
    }
  }

  /// Returns the outcome that `write` would have for each tensor, without writing any file.
  ///
  /// - Throws: `ModelError` as `write` does, except for errors of writing.
  public func planned(
    runningTasks run: TaskRunner = sequentially
  ) throws -> ExportOutcome {
    func plan(_ exporter: some ModelExporter) throws -> ExportOutcome {
      let planned = try planned(exporter, runningTasks: run)
      return ExportOutcome(tensors: planned.map(\.record), files: [], notes: notes)
    }
    return try withExporter { try plan($0) }
  }

  private func withExporter(
    _ body: (any ModelExporter) throws -> ExportOutcome
  ) throws -> ExportOutcome {
    switch target {
    case .mlx: try body(MLXExporter())
    case .onnx: try body(ONNXExporter())
    case .onnxMatMulNBits:
      try body(
        ONNXMatMulExporter(
          roundsZeroPoints: options.roundsZeroPoints, roundsInputs: options.roundsInputs))
    case .gguf:
      try body(GGUFExporter(blocks: options.blocks, padsRows: options.padsRows))
    case .safetensors: try body(CodesExporter())
    }
  }

  private func planned<Exporter: ModelExporter>(
    _ exporter: Exporter, runningTasks run: TaskRunner
  ) throws -> [(plan: PlannedTensor<Exporter.Piece>, record: ExportedTensor)] {
    let names = Array(model.header.names.keys)
    typealias Planned = (plan: PlannedTensor<Exporter.Piece>, record: ExportedTensor)
    let plans = Mutex([Planned?](repeating: nil, count: names.count))
    try run(names.count) { index in
      let name = names[index]
      let planned = try locatingErrors(path: model.file.path, tensor: name) {
        // The target's values and those of the packed file are in memory together.
        try budget.using(elementCount: elementCount(named: name)) {
          var plan = try plan(name, exporter)
          let record = try record(of: plan, name)
          plan.values = nil
          return (plan, record)
        }
      }
      plans.withLock { $0[index] = planned }
    }
    return plans.withLock { $0.compactMap(\.self) }
  }

  /// The number of elements of a tensor to decode for the comparison.
  private func elementCount(named name: String) -> Int {
    guard let entry = model.entry(named: name) else { return 0 }
    return options.blocks == nil ? entry.quantizedElementCount : entry.shape.elementCount
  }

  private func plan<Exporter: ModelExporter>(_ name: String, _ exporter: Exporter) throws
    -> PlannedTensor<Exporter.Piece>
  {
    guard let quantized = try model.quantizedTensor(named: name) else {
      return try exporter.plan(name, keeping: try tensor(name))
    }
    do {
      return try exporter.plan(name, quantized, padsRows: options.padsRows) { [model] in
        guard let quantized = try model.quantizedTensor(named: name) else {
          throw ModelError.malformed("it is no longer quantized", tensor: name)
        }
        return quantized
      }
    } catch let error as ModelError {
      guard options.dequantizes, case .unsupported(let reason) = error.problem else { throw error }
      var plan = try exporter.plan(name, keeping: try tensor(name))
      plan.changes.append("dequantized: \(reason)")
      return plan
    }
  }

  private func tensor(_ name: String) throws -> Tensor {
    guard let tensor = try model.tensor(named: name) else {
      throw ModelError.malformed("there is no such tensor")
    }
    return tensor
  }

  private func record<Piece>(of plan: PlannedTensor<Piece>, _ name: String) throws
    -> ExportedTensor
  {
    guard let entry = model.entry(named: name) else {
      throw ModelError.malformed("there is no such tensor")
    }
    var largestError = 0.0
    if let values = plan.values {
      let quantized = try model.quantizedTensor(named: name)
      largestError = try largestDifference(
        values, quantized?.logicalValues() ?? tensor(name).floatValues())
    }
    var changes = plan.changes
    if let paddedColumns = plan.paddedColumns {
      changes.append(
        "rows are padded with code 0 to \(paddedColumns): pad the layer's input with zeros")
    }
    return ExportedTensor(
      name: name, shape: entry.shape.dimensions, elementType: entry.elementType.rawValue,
      bitWidth: entry.affineBitWidth, form: plan.form,
      fidelity: largestError == 0 ? .exact : .lossy, largestError: largestError,
      paddedColumns: plan.paddedColumns, byteCount: plan.byteCount, changes: changes)
  }

  private var notes: [String] {
    var notes: [String] = []
    let header = model.header
    if !header.activations.isEmpty {
      notes.append(
        "activation quantizers (\(header.activations.count)) are kept as metadata; no runtime "
          + "applies them")
    }
    let sharing = header.names.count - header.entries.count
    if sharing > 0 {
      notes.append(
        (sharing == 1 ? "1 name shares" : "\(sharing) names share")
          + " another's bytes in the packed file, but not here")
    }
    let shortened = header.names.keys.count { GGUFName($0).isShortened }
    if target == .gguf, shortened > 0 {
      notes.append(
        "names longer than ggml's \(GGUFName.byteCountLimit) bytes (\(shortened)) are shortened; the "
          + "metadata '\(ExportDescription.key)' holds the full names")
    }
    return notes
  }
}

/// Returns max |left − right| in double precision; infinite if any difference is NaN.
func largestDifference(_ left: [Float], _ right: [Float]) throws -> Double {
  guard left.count == right.count else {
    throw ModelError.mismatch(
      expected: counted(right.count, "element"), found: "\(left.count)")
  }
  var largest = 0.0
  for (first, second) in zip(left, right) {
    let difference = abs(Double(first) - Double(second))
    largest = difference.isNaN ? .infinity : max(largest, difference)
  }
  return largest
}

extension PackedEntry {
  /// The number of elements to dequantize for the comparison; 0 for a tensor that keeps its bits.
  fileprivate var quantizedElementCount: Int { affineBitWidth == nil ? 0 : shape.elementCount }

  /// The bit width of a code; `nil` if the tensor is not quantized.
  var affineBitWidth: Int? {
    if case .affine(let affine) = encoding { return affine.bitWidth }
    return nil
  }
}

/// A runtime's form of low-bit weights in which a packed model can be written.
///
/// ```swift
/// let model = try PackedModel(parsing: InputFile(path: "model.condi"))
/// for target in ExportTarget.allCases {
///   let options = ExportOptions(padsRows: true, dequantizes: true)
///   let outcome = try ModelExport(model, to: target, options: options).planned()
///   print(target.rawValue, outcome.tensors.reduce(0) { $0 + $1.byteCount })
/// }
/// ```
public enum ExportTarget: String, Sendable, CaseIterable, Codable {
  /// Apple's MLX: a folder of `model.safetensors` and `config.json`.
  case mlx
  /// ONNX's `DequantizeLinear`, for ONNX Runtime and others.
  case onnx
  /// ONNX Runtime's `MatMulNBits`, which multiplies by low-bit weights directly.
  case onnxMatMulNBits = "onnx-matmulnbits"
  /// The blocks of ggml and llama.cpp.
  case gguf
  /// Codes and parameters as plain tensors, for any reader of safetensors.
  case safetensors
}

/// What an exporter may do to tensors that a target cannot hold unchanged.
///
/// ```swift
/// let model = try PackedModel(parsing: InputFile(path: "model.condi"))
/// let options = ExportOptions(padsRows: true)  // for rows that are not whole blocks of 32
/// let outcome = try ModelExport(model, to: .gguf, options: options).write(to: "model.gguf")
/// print(outcome.tensors.filter { $0.paddedColumns != nil }.map(\.name))
/// ```
public struct ExportOptions: Hashable, Sendable {
  /// Whether to pad rows with code 0 to the next multiple of the target's blocks.
  public var padsRows: Bool
  /// Whether to dequantize tensors for which the target has no low-bit form.
  public var dequantizes: Bool
  /// Whether `MatMulNBits` gets integer zero points where lower bounds are not multiples of scales,
  /// which changes values by up to half a scale.
  public var roundsZeroPoints: Bool
  /// Whether `MatMulNBits` may round a layer's inputs to int8, block by block, where its zero
  /// points are integers.
  public var roundsInputs: Bool
  /// The type to whose blocks GGUF's matrices are rounded, whatever codes they have; `nil` for the
  /// smallest type that holds the codes.
  public var blocks: GGUFExportBlocks?

  /// Creates options, which by default forbid any change.
  public init(
    padsRows: Bool = false, dequantizes: Bool = false, roundsZeroPoints: Bool = false,
    roundsInputs: Bool = false, blocks: GGUFExportBlocks? = nil
  ) {
    self.padsRows = padsRows
    self.dequantizes = dequantizes
    self.roundsZeroPoints = roundsZeroPoints
    self.roundsInputs = roundsInputs
    self.blocks = blocks
  }
}
