import FoundationEssentials
import Glibc
import OrderedCollections
import Storage

/// The import of a checkpoint that another program quantized into a packed file.
///
/// Codes are kept. Every tensor is compared with the result of the checkpoint's documented
/// arithmetic, in Float32 and rounded to the scales' type.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("gptq-model/model.safetensors")
/// let config = try ModelImport.configuration(beside: "gptq-model", of: .gptq).json
/// let outcome = try ModelImport(archive, from: .gptq, config: config).write(to: "model.condi")
/// print(outcome.tensors.allSatisfy { $0.fidelity == .exact })
/// ```
public struct ModelImport: Sendable {
  private let archive: TensorArchive
  private let source: ImportSource
  private let matrices: [ImportedMatrix]
  private let origin: ExportDescription.Origin
  private let budget: MemoryBudget

  /// Plans the import from the checkpoint's index and configuration, reading only GPTQ's zero
  /// points.
  ///
  /// - Parameters:
  ///   - archive: the checkpoint's tensors.
  ///   - config: its `config.json`, or the file that `configuration(beside:of:)` finds.
  /// - Throws: `ModelError` when the configuration or a module does not match the layout, or there
  ///   is no quantized module.
  public init(_ archive: TensorArchive, from source: ImportSource, config: JSONValue) throws {
    try self.init(archive, from: source, config: config, budget: nil)
  }

  /// - Parameter budget: the memory for matrices that are compared at the same time.
  init(
    _ archive: TensorArchive, from source: ImportSource, config: JSONValue, budget: MemoryBudget?
  ) throws {
    self.archive = archive
    self.source = source
    if source == .gptq { try Self.refuseOtherMethods(archive, config) }
    origin = try ExportDescription.origin(in: archive.metadata)
    matrices =
      switch source {
      case .mlx:
        try MLXImporter(config: config).matrices(
          of: archive, columnsBeforePadding: origin.columnsBeforePadding)
      case .gptq: try GPTQImporter(config: config).matrices(of: archive)
      case .awq: try AWQImporter(QuantizationConfiguration(config)).matrices(of: archive)
      case .compressedTensors:
        try CompressedTensorsImporter(QuantizationConfiguration(config)).matrices(of: archive)
      }
    self.budget =
      budget ?? .forMatrices(ofElementCounts: matrices.map(\.shape.elementCount))
    guard !matrices.isEmpty else {
      throw ModelError.mismatch(
        expected: "modules quantized by \(source.displayName)", found: "none")
    }
  }

  /// Rejects a configuration of another method if the tensors are not GPTQ's either.
  private static func refuseOtherMethods(_ archive: TensorArchive, _ config: JSONValue) throws {
    guard let method = QuantizationConfiguration(config).method, !method.hasPrefix("gptq"),
      !archive.tensors.keys.contains(where: { $0 == "qweight" || $0.hasSuffix(".qweight") })
    else { return }
    throw ModelError.mismatch(
      expected: "modules quantized by GPTQ",
      found: "none, and the configuration's 'quant_method' is '\(method)'; 'convert' assembles "
        + "such weights and quantizes them anew")
  }

  /// Reads the configuration beside a checkpoint: `config.json`, GPTQ's `quantize_config.json`, or
  /// AWQ's `quant_config.json`.
  ///
  /// - Parameter path: the checkpoint's file or folder.
  /// - Throws: `ModelError` when there is no configuration or it is not JSON.
  public static func configuration(beside path: String, of source: ImportSource) throws
    -> (path: String, json: JSONValue)
  {
    let folder = path.isFolder ? path : path.deletingLastPathComponent
    let names = source.configurationNames
    let candidates = names.map { folder.isEmpty ? $0 : "\(folder)/\($0)" }
    guard let found = candidates.first(where: FileManager.default.fileExists(atPath:)) else {
      throw ModelError.mismatch(
        expected: "\(names.joined(separator: " or ")) beside it", found: "none", path: path
      ).offering(.configuration)
    }
    return (found, try configuration(at: found))
  }

  /// Reads a configuration from the file at `path`.
  ///
  /// - Throws: `ModelError` when the file cannot be read or is not JSON.
  public static func configuration(at path: String) throws -> JSONValue {
    let file = try InputFile(path: path, access: .read)
    return try locatingErrors(path: path) {
      guard file.byteCount <= 1 << 24 else {
        throw ModelError(
          .limitExceeded(
            what: "a configuration in bytes", limit: 1 << 24, found: "\(file.byteCount)"))
      }
      return try JSONDocument.parse(
        file.bytes(at: 0, count: file.byteCount, purpose: "the configuration"))
    }
  }

  /// Writes the packed file, which appears whole at `path` or not at all.
  public func write(
    to path: String, replacesExisting: Bool = false,
    runningTasks run: @escaping TaskRunner = sequentially
  ) throws -> ExportOutcome {
    try OutputDestination.check(path, replacesExisting: replacesExisting)
    var header = PackedHeader(producer: Producer.current)
    header.source = try PackedHeader.Source(archive, root: nil)
    header.metadata = archive.metadata
    // The packed file now holds its content, and the next export writes it anew.
    header.metadata.removeValue(forKey: ExportDescription.key)
    header.activations = origin.activations
    header.values = archive.values
    let plan = try PackedPlan(header: header, items: try items(), runningTasks: run)
    let written = try plan.file.write(
      to: path, replacesExisting: replacesExisting, runningTasks: run)
    return ExportOutcome(
      tensors: plan.header.names.map { name, index in
        record(plan.header.entries[index], name, largestError: written.costs[index] ?? 0)
      },
      files: [ExportOutcome.File(path: path, byteCount: written.byteCount)],
      notes: OrderedSet(matrices.compactMap(\.remark)).elements)
  }

  /// Returns the tensors in the checkpoint's order; a matrix takes the place of the first of its
  /// parts. The cost of a matrix is its largest difference from the values that the checkpoint's
  /// reader computes.
  private func items() throws -> [PackedItem<Double>] {
    var matrixOfPart: [String: Int] = [:]
    for (index, matrix) in matrices.enumerated() {
      for part in matrix.parts { matrixOfPart[part] = index }
    }
    var done: Set<Int> = []
    return try archive.tensors.compactMap { name, tensor in
      guard let index = matrixOfPart[name] else {
        return PackedItem(name: name, role: Self.role(tensor), source: tensor, action: .keep)
      }
      guard done.insert(index).inserted else { return nil }
      return try item(matrices[index])
    }
  }

  private func item(_ matrix: ImportedMatrix) throws -> PackedItem<Double> {
    // Equal sources share a record, so the source is the dequantized matrix.
    let elementCount = matrix.shape.elementCount
    let tensor = try Tensor(elementType: matrix.elementType, shape: matrix.shape) { [budget] in
      try budget.using(elementCount: elementCount) { try matrix.load().tensor.dequantized() }
    }
    return PackedItem(
      name: matrix.name, role: .weight, source: tensor,
      action: .quantize(matrix.spec, method: matrix.name) { [budget] in
        // The reader's values and those of the packed file are in memory together.
        try budget.using(elementCount: elementCount) {
          let loaded = try matrix.load()
          return (
            loaded.tensor, try largestDifference(loaded.tensor.logicalValues(), loaded.values)
          )
        }
      })
  }

  private static func role(_ tensor: Tensor) -> TensorRole {
    guard tensor.elementType.isFloatingPoint else { return .buffer }
    return tensor.shape.matrix == nil ? .parameter : .weight
  }

  private func record(_ entry: PackedEntry, _ name: String, largestError: Double) -> ExportedTensor
  {
    let matrix = matrices.first { $0.name == name }
    return ExportedTensor(
      name: name, shape: entry.shape.dimensions, elementType: entry.elementType.rawValue,
      bitWidth: entry.affineBitWidth,
      form: matrix.map {
        "affine, \($0.spec.bitWidth) bits, per \($0.spec.layout.granularity)"
      } ?? entry.elementType.rawValue,
      fidelity: largestError == 0 ? .exact : .lossy, largestError: largestError,
      paddedColumns: nil, byteCount: entry.byteCount,
      changes: matrix.map { ["from \($0.form)"] } ?? [])
  }
}
