import Formats
import OrderedCollections
import Synchronization
import Transform

/// A planned output file with its sources at hand, so that any of its records can be made.
public struct Conversion: Sendable {
  public let plan: ConversionPlan
  public let file: any PlacedFile
  /// Of the tensors that were quantized so far, by name.
  private let summaries: Summaries

  private final class Summaries: Sendable {
    let found = Mutex<[String: QuantizationSummary]>([:])
  }

  /// Plans to pack weight by weight.
  ///
  /// - Parameters:
  ///   - archive: the part of the model that `packer` packs.
  ///   - root: where that part lies.
  /// - Throws: `FormatError` when kept tensors cannot be read.
  public init(
    _ request: ConversionRequest, packing archive: TensorArchive, root: String?,
    with packer: ModelPacker
  ) throws {
    let summaries = Summaries()
    let writer = try packer.writer { summary in
      summaries.found.withLock { $0[summary.name] = summary }
    }
    self.summaries = summaries
    file = writer
    plan = ConversionPlan(
      request: request, sources: try archive.sourceFiles.map(SourceFile.init(path:)), root: root,
      header: writer.header)
  }

  /// Plans to write `archive` as safetensors.
  ///
  /// - Throws: `FormatError` for what safetensors cannot hold.
  public init(
    _ request: ConversionRequest, copying archive: TensorArchive, root: String?
  ) throws {
    let writer = try SafetensorsWriter(archive)
    summaries = Summaries()
    file = writer
    let header = writer.header(producer: request.producer)
    plan = ConversionPlan(
      request: request, sources: try archive.sourceFiles.map(SourceFile.init(path:)), root: root,
      header: header)
  }

  /// Opens the sources of `plan` again.
  ///
  /// - Parameters:
  ///   - absentFiles: sources that a conversion has consumed; records of their tensors cannot be made.
  ///   - threads: at least 1.
  /// - Throws: `FormatError` when sources are not as they were, or the plan is not one for them.
  public init(
    continuing plan: ConversionPlan, access: InputFile.Access, absentFiles: Set<String> = [],
    threads: Int
  ) throws {
    guard plan.request.producer == Producer.current else {
      throw FormatError.unsupported(
        "it was planned by \(plan.request.producer), which may write other bytes than "
          + "\(Producer.current)", path: plan.request.input)
    }
    try plan.checkSources(absentFiles: absentFiles)
    let archive = try Self.archive(of: plan, access: access, absentFiles: absentFiles)
    self.plan = plan
    let summaries = Summaries()
    self.summaries = summaries
    guard plan.request.isPacked else {
      let writer = try SafetensorsWriter(archive)
      let isPlanned = writer.records.elementsEqual(plan.header.entries) {
        $0.name == $1.name && $0.offset == $1.offset && $0.byteCount == $1.byteCount
      }
      guard isPlanned else {
        throw FormatError.malformed("the plan is for another model", path: plan.request.input)
      }
      file = writer
      return
    }
    file = try ModelPacker(archive, planned: plan.header, threads: threads)
      .file(planned: plan.header) { summary in
        summaries.found.withLock { $0[summary.name] = summary }
      }
  }

  /// What quantizing the tensor cost, where it was quantized here.
  func summary(of name: String) -> QuantizationSummary? {
    summaries.found.withLock { $0[name] }
  }

  /// The archive as planned: tensors of absent files are there, but cannot be read.
  private static func archive(
    of plan: ConversionPlan, access: InputFile.Access, absentFiles: Set<String>
  ) throws -> TensorArchive {
    let path = plan.sources.first?.path ?? plan.request.input
    var archive: TensorArchive
    if absentFiles.isEmpty {
      archive = try FormatRegistry.standard.open(path, access: access)
    } else {
      archive = try ShardedFormat(absentFiles: absentFiles)
        .read(InputFile(path: path, access: access))
    }
    if let root = plan.root { archive = try archive.selecting(root: root) }
    var planned = TensorArchive(
      format: archive.format, values: plan.header.values, metadata: plan.header.metadata)
    planned.sourceFiles = archive.sourceFiles
    for (name, index) in plan.header.names {
      let entry = plan.header.entries[index]
      planned.tensors[name] =
        try archive.tensors[name]
        ?? Tensor(elementType: entry.elementType, shape: entry.shape) {
          throw FormatError.malformed("the file that it was in has been consumed", tensor: name)
        }
    }
    return planned
  }
}
