import Formats
import FoundationEssentials
import Glibc
import OrderedCollections
import Storage
import Synchronization
import Transform

/// A planned output file with its sources at hand, so that any of its records can be made.
package struct Conversion: Sendable {
  package let plan: ConversionPlan
  package let file: any PlacedFile
  /// Tensors whose file a conversion has consumed, so that their records cannot be made.
  let absentTensors: Set<String>
  /// Of the tensors that were quantized so far, by name.
  private let summaries: Summaries

  private final class Summaries: Sendable {
    private let found = Mutex<[String: QuantizationSummary]>([:])

    func record(_ summary: QuantizationSummary) { found.withLock { $0[summary.name] = summary } }

    subscript(name: String) -> QuantizationSummary? { found.withLock { $0[name] } }
  }

  private init(
    _ plan: ConversionPlan, file: any PlacedFile, absentTensors: Set<String> = [],
    summaries: Summaries
  ) {
    self.plan = plan
    self.file = file
    self.absentTensors = absentTensors
    self.summaries = summaries
  }

  /// - Parameter header: of the file, with every record's place.
  private init(
    _ request: ConversionRequest, of archive: TensorArchive, root: String?, file: any PlacedFile,
    header: PackedHeader, summaries: Summaries = Summaries()
  ) throws {
    let sources = try archive.sourceFiles.map(SourceFile.init(path:))
    self.init(
      ConversionPlan(request: request, sources: sources, root: root, header: header),
      file: file, summaries: summaries)
  }

  /// Plans to pack weight by weight.
  ///
  /// - Parameters:
  ///   - archive: the part of the model that `packer` packs.
  ///   - root: where that part lies.
  /// - Throws: `ModelError` when kept tensors cannot be read.
  package init(
    _ request: ConversionRequest, packing archive: TensorArchive, root: String?,
    with packer: ModelPacker
  ) throws {
    let summaries = Summaries()
    let writer = try packer.writer(recording: summaries.record)
    try self.init(
      request, of: archive, root: root, file: writer, header: writer.header, summaries: summaries)
  }

  /// Plans to write `archive` as safetensors.
  ///
  /// - Throws: `ModelError` for what safetensors cannot hold.
  package init(
    _ request: ConversionRequest, copying archive: TensorArchive, root: String?
  ) throws {
    let writer = try SafetensorsWriter(archive)
    try self.init(
      request, of: archive, root: root, file: writer,
      header: writer.header(producer: request.producer))
  }

  /// Opens the sources of `plan` again.
  ///
  /// - Parameters:
  ///   - absentFiles: sources that a conversion has consumed; records of their tensors cannot be made.
  ///   - threads: at least 1.
  /// - Throws: `ModelError` when sources are not as they were, or the plan is not one for them.
  package init(
    continuing plan: ConversionPlan, access: InputFile.Access, absentFiles: Set<String> = [],
    threads: Int
  ) throws {
    guard plan.request.producer == Producer.current else {
      throw ModelError.unsupported(
        "it was planned by \(plan.request.producer), which may write other bytes than "
          + "\(Producer.current)", path: plan.request.input)
    }
    try plan.checkSources(absentFiles: absentFiles)
    let (archive, absentTensors) = try Self.archive(
      of: plan, access: access, absentFiles: absentFiles)
    let summaries = Summaries()
    guard plan.request.isPacked else {
      let writer = try SafetensorsWriter(archive)
      let isPlanned = writer.records.elementsEqual(plan.header.entries) {
        $0.name == $1.name && $0.offset == $1.offset && $0.byteCount == $1.byteCount
      }
      guard isPlanned else {
        throw ModelError.malformed("the plan is for another model", path: plan.request.input)
      }
      self.init(plan, file: writer, absentTensors: absentTensors, summaries: summaries)
      return
    }
    let writer = try ModelPacker(archive, planned: plan.header, threads: threads)
      .file(planned: plan.header, recording: summaries.record)
    self.init(plan, file: writer, absentTensors: absentTensors, summaries: summaries)
  }

  /// What quantizing the tensor cost, where it was quantized here.
  func summary(of name: String) -> QuantizationSummary? {
    summaries[name]
  }

  /// The archive as planned: tensors of absent files are there, but cannot be read.
  private static func archive(
    of plan: ConversionPlan, access: InputFile.Access, absentFiles: Set<String>
  ) throws -> (archive: TensorArchive, absentTensors: Set<String>) {
    let path = plan.sources.first?.path ?? plan.request.input
    var archive: TensorArchive
    if absentFiles.isEmpty {
      archive = try FormatRegistry.standard.open(path, access: access)
    } else {
      archive = try ShardedFormat(absentFiles: absentFiles)
        .read(InputFile(path: path, access: access))
    }
    if let root = plan.root { archive = try archive.selecting(root: root) }
    // What is packed are tensors that others were put together to; copies are as they are stored.
    if plan.request.isPacked { archive = archive.assembled() }
    var planned = TensorArchive(
      format: archive.format, values: plan.header.values, metadata: plan.header.metadata)
    planned.sourceFiles = archive.sourceFiles
    for (name, index) in plan.header.names {
      let entry = plan.header.entries[index]
      planned.tensors[name] =
        try archive.tensors[name]?.interpreted(asOneOf: [entry.elementType])
        ?? Tensor(elementType: entry.elementType, shape: entry.shape) {
          throw ModelError.malformed("the file that it was in has been consumed", tensor: name)
        }
    }
    return (planned, Set(plan.header.names.keys.filter { archive.tensors[$0] == nil }))
  }
}

/// A file that a model was read from, as it was then.
package struct SourceFile: Hashable, Sendable {
  package let path: String
  package let byteCount: Int
  /// When it was last changed: nanoseconds since 1970.
  package let modification: Int

  /// - Throws: `ModelError` when there is no such file.
  package init(path: String) throws {
    var status = stat()
    guard stat(path, &status) == 0 else {
      throw ModelError(.system(operation: "read the file's status", code: errno), path: path)
    }
    self.path = path
    byteCount = Int(status.st_size)
    modification = Int(status.st_mtim.tv_sec) * 1_000_000_000 + Int(status.st_mtim.tv_nsec)
  }

  /// Whether the file is as it was; a file that is gone is not.
  package var isUnchanged: Bool { (try? SourceFile(path: path)) == self }

  /// Whether nothing has the file's name any more, or an empty file: it is emptied before it is deleted.
  var isGone: Bool {
    var status = stat()
    return stat(path, &status) == 0 ? status.st_size == 0 : errno == ENOENT
  }
}

extension SourceFile {
  init(parsing members: inout JSONObjectReader) throws {
    path = try members.require("path", members.string("path"))
    byteCount = try members.require("byteCount", members.count("byteCount"))
    modification = try members.require("modification", members.integer("modification"))
  }

  var json: JSONValue {
    .object([
      "path": .string(path), "byteCount": .integer(byteCount),
      "modification": .integer(modification),
    ])
  }
}

/// An output that took its name in the moment before its journal was to be removed.
enum FinishedOutput {
  /// Whether the output of `plan` is there with every record that was planned, as the journal says
  /// them.
  ///
  /// - Throws: `ModelError` when the output cannot be read.
  static func isThere(of plan: ConversionPlan, _ journal: JournalContent) throws -> Bool {
    guard FileManager.default.fileExists(atPath: plan.request.output) else { return false }
    let results = try journal.results + RankShare.results(of: plan)
    let checksums = Dictionary(results.map { ($0.index, $0.checksum) }) { $1 }
    let file = try InputFile(path: plan.request.output, access: .read)
    return try plan.header.entries.enumerated().allSatisfy { index, entry in
      guard let checksum = checksums[index], entry.byteCount <= file.byteCount - entry.offset else {
        return false
      }
      return try file.checksum(at: entry.offset, byteCount: entry.byteCount) == checksum
    }
  }
}

extension InputFile {
  /// The CRC-32 of bytes of the file, read by pieces.
  fileprivate func checksum(at offset: Int, byteCount: Int) throws -> UInt32 {
    let pieceByteCount = 1 << 20
    var checksum: UInt32 = 0
    for start in stride(from: 0, to: byteCount, by: pieceByteCount) {
      let piece = try bytes(
        at: offset + start, count: min(pieceByteCount, byteCount - start), purpose: "its record")
      checksum = CRC32.checksum(piece, seed: checksum)
    }
    return checksum
  }
}
