import Formats
import LinearAlgebra
import OrderedCollections
import Storage

/// Packs a model as planned, either one that is already quantized or weight by weight.
package struct ModelPacker: Sendable {
  /// The treatment of each tensor.
  package let plan: QuantizationPlan
  private let archive: TensorArchive
  private let source: PackedHeader.Source?
  private let threads: Int
  /// The quantized model; `nil` if each weight is quantized as it is written.
  private let model: QuantizedModel?

  /// Creates a packer of an already quantized model; without one, each weight is quantized on its
  /// own, by the recipe's method.
  package init(
    _ archive: TensorArchive, plan: QuantizationPlan, model: QuantizedModel?,
    source: PackedHeader.Source?, threads: Int
  ) {
    self.plan = plan
    self.archive = archive
    self.source = source
    self.threads = threads
    self.model = model
  }

  /// Plans the packing of `archive` from its index alone.
  ///
  /// - Parameters:
  ///   - source: the origin of the archive, for the packed file's header.
  ///   - threads: at least 1; the file does not depend on it.
  /// - Throws: `ModelError` when the recipe does not fit the archive.
  package init(
    _ archive: TensorArchive, recipe: Recipe, source: PackedHeader.Source?, threads: Int
  ) throws {
    plan = try QuantizationPlan(archive, recipe: recipe)
    self.archive = archive
    self.source = source
    self.threads = threads
    model = nil
  }

  /// Continues a file that was planned before, perhaps by another process.
  ///
  /// - Parameters:
  ///   - archive: an archive with every tensor that the plan names.
  ///   - header: the header of the planned file, whose weights are quantized one by one.
  /// - Throws: `ModelError` when the plan has no recipe that fits the archive.
  package init(_ archive: TensorArchive, planned header: PackedHeader, threads: Int) throws {
    guard let recipe = header.recipe else {
      throw ModelError("the plan has no recipe")
    }
    var bitWidths: [String: Int] = [:]
    for entry in header.entries {
      if case .affine(let affine) = entry.encoding { bitWidths[entry.name] = affine.bitWidth }
    }
    let plan = try QuantizationPlan(archive, recipe: Recipe(recipe, source: "the plan's recipe"))
    try self.init(
      archive, plan: plan.settingBitWidths(bitWidths), model: nil, source: header.source,
      threads: threads)
  }

  /// Returns the file of `init(_:planned:threads:)`, with the record offsets in `header`.
  ///
  /// - Throws: `ModelError` when it is the plan of another model.
  package func plan(
    continuing header: PackedHeader
  ) throws -> PackedPlan<QuantizationSummary> {
    try PackedPlan(planned: header, items: archive.tensors.map { item($0, $1) })
  }

  /// Writes the packed file, which appears whole at `path` or not at all.
  ///
  /// - Parameters:
  ///   - proof: the proof of a file that is made again; any other file is an error.
  ///   - progress: called with the bytes of each finished tensor, from any thread.
  /// - Throws: `ModelError` for tensors that cannot be quantized, and when reading or writing
  ///   fails.
  package func write(
    to path: String, replacesExisting: Bool = false, expecting proof: PackedHeaderProof? = nil,
    progress: WriteProgress? = nil
  ) throws -> CompressionOutcome {
    try OutputDestination.check(path, replacesExisting: replacesExisting)
    let plan = try packedPlan()
    var output = try AtomicFileWriter(path: path, replacesExisting: replacesExisting)
    let written = try output.write(
      plan.file(expecting: proof), runningTasks: runTasks, progress: progress)
    if case .byteCount(let limit) = self.plan.recipe.budget, written.byteCount > limit {
      throw ModelError(
        "the file would have \(counted(written.byteCount, "byte")), more than \(limit)",
        path: self.plan.recipe.errorName)
    }
    try output.finish()
    return CompressionOutcome(
      plan.header, costs: written.costs, fileByteCount: written.byteCount)
  }

  /// Plans the file, with the place of every record.
  ///
  /// - Parameter names: the tensors to plan; all of them when `nil`.
  package func packedPlan(
    of names: Set<String>? = nil, producer: String = Producer.current
  ) throws -> PackedPlan<QuantizationSummary> {
    let adjusted = try adjustedTensors()
    let items = archive.tensors.filter { names?.contains($0.key) ?? true }
      .map { item($0, adjusted[$0] ?? $1) }
    var header = header
    header.producer = producer
    header.activations = model.map { Array($0.activations.values) } ?? []
    header.adjustedNames = archive.tensors.keys.filter { adjusted[$0] != nil }
    return try PackedPlan(header: header, items: items, runningTasks: runTasks)
  }

  /// Runs tasks on the packer's threads.
  var runTasks: TaskRunner {
    { [threads] count, task in _ = try parallelMap(count: count, threads: threads, task) }
  }

  /// Returns an upper bound of the file's bytes other than codes, bounds and scales: records of
  /// kept tensors and biases, the header, and what alignment may add.
  ///
  /// - Parameter activations: the quantizers that the header will list.
  /// - Throws: `ModelError` when a kept tensor cannot be read.
  func fixedByteCount(activations: [ActivationQuantizer]) throws -> Int {
    let items = archive.tensors.map { item($0, $1) }
    var header = header
    header.activations = activations
    header.adjustedNames = plan.quantizedNames.compactMap(ModelQuantizer.biasName)
      .filter { archive.tensors[$0] != nil }
    let packed = try PackedPlan(header: header, items: items, runningTasks: runTasks)
    let kept = packed.header.entries.reduce(64) { sum, entry in
      if case .affine = entry.encoding { sum } else { sum + entry.byteCount }
    }
    // Other bit widths, offsets and biases change the header's length a little, and each record
    // that may grow to 4,096 bytes may move by up to 63 bytes.
    let text = packed.estimatedHeaderByteCount
    let slack = text / 20 + 256 + 63 * packed.header.entries.count { $0.byteCount >= 1024 }
    return kept + text + slack
  }

  private var header: PackedHeader {
    var header = PackedHeader(producer: Producer.current)
    header.source = source
    header.recipe = plan.recipe.jsonValue
    header.metadata = archive.metadata
    header.values = archive.values
    return header
  }

  /// Returns the full-precision tensors that differ from the archive's, by name.
  private func adjustedTensors() throws -> [String: Tensor] {
    guard let model else { return [:] }
    var changes: [String: [Double]] = [:]
    for (name, layer) in model.layers {
      guard let values = layer.bias, let bias = ModelQuantizer.biasName(ofWeight: name) else {
        continue
      }
      changes[bias] = values
    }
    for (name, values) in model.tensors { changes[name] = values.map(Double.init) }
    var adjusted: [String: Tensor] = [:]
    for (name, values) in changes {
      guard let tensor = archive.tensors[name], plan.entries[name]?.quantization == nil,
        QuantizedTensor.supportedElementTypes.contains(tensor.elementType)
      else { continue }
      let bytes = try locatingErrors(tensor: name) { try tensor.elementType.bytes(of: values) }
      if try !tensor.bytes().elementsEqual(bytes) {
        adjusted[name] = try locatingErrors(tensor: name) {
          try Tensor(elementType: tensor.elementType, shape: tensor.shape, bytes: bytes)
        }
      }
    }
    return adjusted
  }

  private func item(
    _ name: String, _ tensor: Tensor
  ) -> PackedItem<QuantizationSummary> {
    guard let entry = plan.entries[name], let quantization = entry.quantization else {
      return PackedItem(
        name: name, role: plan.entries[name]?.role ?? .parameter, source: tensor, action: .keep)
    }
    let original = entry.sharedWith ?? name
    let layer = model?.layers[original]
    return PackedItem(
      name: name, role: entry.role, source: tensor,
      action: .quantize(
        quantization.spec,
        // A method's result also depends on a weight's inputs, so equal weights of two layers may
        // get different codes.
        method: plan.recipe.method.method == .nearest
          ? quantization.search.rawValue : "layer \(original)"
      ) { [plan] in
        if let layer { return (layer.tensor, layer.summary) }
        let outcome = try WeightQuantizer(plan: plan).quantize(name, tensor)
        return (outcome.tensor, QuantizationSummary(name: name, plan: plan, outcome))
      })
  }
}

/// The outcome of compressing a model.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// let outcome = try Compressor(archive, recipe: .named("body")).write(to: "model.condi")
/// let worst = outcome.layers.max { $0.rootMeanSquareError < $1.rootMeanSquareError }
/// print(outcome.summary.ratios.tensors, worst?.name ?? "nothing was quantized")
/// ```
public struct CompressionOutcome: Sendable {
  /// The packed file's header, without checksums.
  public let header: PackedHeader
  /// The cost of quantizing each tensor, in the archive's order.
  public let layers: [QuantizationSummary]
  /// The content and size of the file.
  public let summary: PackedSummary
  /// The summary of distillation; `nil` without it.
  public internal(set) var distillation: DistillationSummary?

  /// - Parameter costs: those of the file's records, in any order.
  package init(
    _ header: PackedHeader, costs: [QuantizationSummary?], fileByteCount: Int
  ) {
    var found: [String: QuantizationSummary] = [:]
    for cost in costs.compactMap(\.self) { found[cost.name] = cost }
    self.header = header
    layers = header.names.keys.compactMap { found[$0] }
    summary = PackedSummary(header, fileByteCount: fileByteCount)
  }
}
