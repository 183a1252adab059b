import Formats
import LinearAlgebra
import OrderedCollections
import Synchronization

/// Quantizes a model by a recipe and packs it: the plan first, then its execution.
public struct ModelPacker: Sendable {
  public let plan: QuantizationPlan
  private let archive: TensorArchive
  private let source: PackedHeader.Source?
  private let threads: Int

  /// Plans the packing of `archive` from its index alone.
  ///
  /// - Parameters:
  ///   - source: where the archive came from, for the packed file's header.
  ///   - threads: at least 1; the file does not depend on it.
  /// - Throws: `TransformError` when the recipe does not fit the archive.
  public init(
    _ archive: TensorArchive, recipe: Recipe, source: PackedHeader.Source?, threads: Int
  ) throws {
    plan = try QuantizationPlan(archive, recipe: recipe)
    self.archive = archive
    self.source = source
    self.threads = threads
  }

  /// Writes the packed file, which appears whole at `path` or not at all.
  ///
  /// - Parameters:
  ///   - progress: called with the bytes of each tensor done, from any thread.
  /// - Returns: what quantizing each tensor cost, in the archive's order.
  /// - Throws: `FormatError` on reading and writing; `TransformError` for tensors that cannot be
  ///   quantized.
  public func write(
    to path: String, replacesExisting: Bool = false, progress: WriteProgress? = nil
  ) throws -> [QuantizationSummary] {
    var output = try AtomicFileWriter(path: path, replacesExisting: replacesExisting)
    let summaries = Mutex<[String: QuantizationSummary]>([:])
    let items = archive.tensors.map { name, tensor in
      item(name, tensor) { summary in summaries.withLock { $0[name] = summary } }
    }
    let runTasks: PackedWriter.TaskRunner = { [threads] count, task in
      _ = try parallelMap(count: count, threads: threads, task)
    }
    let writer = try PackedWriter(header: header, items: items, runningTasks: runTasks)
    try writer.write(to: &output, runningTasks: runTasks, progress: progress)
    try output.finish()
    return summaries.withLock { found in archive.tensors.keys.compactMap { found[$0] } }
  }

  private var header: PackedHeader {
    var header = PackedHeader(producer: Producer.current)
    header.source = source
    header.recipe = plan.recipe.jsonValue
    header.metadata = archive.metadata
    header.values = archive.values
    return header
  }

  private func item(
    _ name: String, _ tensor: Tensor,
    record: @escaping @Sendable (QuantizationSummary) -> Void
  ) -> PackedItem {
    guard let entry = plan.entries[name], let quantization = entry.quantization else {
      return PackedItem(
        name: name, role: plan.entries[name]?.role ?? .parameter, source: tensor, action: .keep)
    }
    let quantizer = Quantizer(plan: plan)
    let encoding = AffineEncoding(
      layout: quantization.layout, bitWidth: quantization.bitWidth,
      parameterType: quantization.parameterType)
    return PackedItem(
      name: name, role: entry.role, source: tensor,
      action: .quantize(encoding, method: quantization.search.rawValue) {
        let outcome = try quantizer.outcome(name, tensor: tensor)
        record(outcome.summary)
        return outcome.tensor
      })
  }
}
