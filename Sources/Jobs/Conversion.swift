import Formats
import FoundationEssentials
import Glibc
import Storage
import Transform

/// A planned output file with its sources at hand, so that any of its records can be made.
package struct Conversion: Sendable {
  package let plan: ConversionPlan
  package let file: PlannedFile<QuantizationSummary>
  /// Tensors whose file a conversion has consumed, so that their records cannot be made.
  let absentTensors: Set<String>

  private init(
    _ plan: ConversionPlan, file: PlannedFile<QuantizationSummary>,
    absentTensors: Set<String> = []
  ) {
    self.plan = plan
    self.file = file
    self.absentTensors = absentTensors
  }

  private init(
    _ request: ConversionRequest, of archive: TensorArchive, root: String?,
    file: PlannedFile<QuantizationSummary>, content: ConversionPlan.Content
  ) throws {
    let sources = try archive.sourceFiles.map(SourceFile.init(path:))
    self.init(
      ConversionPlan(request: request, sources: sources, root: root, content: content), file: file)
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
    let packed = try packer.packedPlan()
    try self.init(
      request, of: archive, root: root, file: packed.file, content: .packed(packed.header))
  }

  /// Plans to write `archive` in the request's format, every bit as it is.
  ///
  /// - Throws: `ModelError` for what the format cannot hold.
  package init(
    _ request: ConversionRequest, copying archive: TensorArchive, root: String?
  ) throws {
    let file = try Self.format(of: request).plan(archive)
    try self.init(
      request, of: archive, root: root, file: file.withCost(),
      content: .copy(CopyOutline(of: archive, in: file)))
  }

  private static func format(of request: ConversionRequest) throws -> any ModelFormat {
    guard let format = FormatRegistry.standard.format(named: request.format) else {
      throw ModelError.unsupported("the plan's format '\(request.format)' is not known")
    }
    return format
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
    let file: PlannedFile<QuantizationSummary>
    switch plan.content {
    case .packed(let header):
      file = try ModelPacker(archive, planned: header, threads: threads)
        .plan(continuing: header).file
    case .copy(let outline):
      file = try Self.format(of: plan.request).plan(archive).withCost()
      let isPlanned = file.records.elementsEqual(outline.places) {
        $0.offset == $1.offset && $0.byteCount == $1.byteCount
      }
      guard isPlanned else {
        throw ModelError.malformed("the plan is for another model", path: plan.request.input)
      }
    }
    self.init(plan, file: file, absentTensors: absentTensors)
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
    var planned = archive
    switch plan.content {
    case .packed(let header):
      // What is packed are tensors that others were put together to; copies are as they are stored.
      archive = archive.assembled()
      planned = TensorArchive(
        format: archive.format, values: header.values, metadata: header.metadata)
      planned.sourceFiles = archive.sourceFiles
    case .copy(let outline):
      planned.tensors = [:]
      planned.values = outline.values
      planned.metadata = outline.metadata
    }
    for (name, form) in plan.tensors {
      planned.tensors[name] =
        try archive.tensors[name]?.interpreted(asOneOf: [form.elementType])
        ?? Tensor(elementType: form.elementType, shape: form.shape) {
          throw ModelError.malformed("the file that it was in has been consumed", tensor: name)
        }
    }
    return (planned, Set(plan.tensors.keys.filter { archive.tensors[$0] == nil }))
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
    return try plan.places.enumerated().allSatisfy { index, place in
      guard let checksum = checksums[index], place.byteCount <= file.byteCount - place.offset else {
        return false
      }
      return try file.checksum(at: place.offset, byteCount: place.byteCount) == checksum
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
