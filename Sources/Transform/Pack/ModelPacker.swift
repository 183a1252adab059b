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
  ///   - proof: what is known of the file, for one that is made again; another file is an error.
  ///   - progress: called with the bytes of each tensor done, from any thread.
  /// - Returns: what quantizing each tensor cost, in the archive's order, and how small the file is.
  /// - Throws: `FormatError` on reading and writing; `TransformError` for tensors that cannot be
  ///   quantized.
  public func write(
    to path: String, replacesExisting: Bool = false, expecting proof: PackedHeaderProof? = nil,
    progress: WriteProgress? = nil
  ) throws -> (layers: [QuantizationSummary], summary: PackedSummary) {
    var output = try AtomicFileWriter(path: path, replacesExisting: replacesExisting)
    let summaries = Mutex<[String: QuantizationSummary]>([:])
    let writer = try writer { summary in summaries.withLock { $0[summary.name] = summary } }
    let summary = try writer.write(
      to: &output, expecting: proof, runningTasks: runTasks, progress: progress)
    try output.finish()
    let layers = summaries.withLock { found in archive.tensors.keys.compactMap { found[$0] } }
    return (layers, summary)
  }

  /// The plan of the file, with every place in it.
  ///
  /// - Parameters:
  ///   - names: the tensors to plan; all of them when `nil`.
  ///   - record: called with what quantizing a tensor cost once it is done, from any thread.
  func writer(
    of names: Set<String>? = nil, producer: String = Producer.current,
    recording record: @escaping @Sendable (QuantizationSummary) -> Void = { _ in }
  ) throws -> PackedWriter {
    let items = archive.tensors.filter { names?.contains($0.key) ?? true }
      .map { item($0, $1, record: record) }
    var header = header
    header.producer = producer
    return try PackedWriter(header: header, items: items, runningTasks: runTasks)
  }

  /// Runs tasks on the packer's threads.
  var runTasks: PackedWriter.TaskRunner {
    { [threads] count, task in _ = try parallelMap(count: count, threads: threads, task) }
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
