import Formats
import FoundationEssentials
import Glibc
import Storage
import Transform

/// A planned output file with its open sources, from which any of its records can be made.
package struct Conversion: Sendable {
  package let plan: ConversionPlan
  package let file: PlannedFile<QuantizationSummary>
  /// The tensors whose file a conversion has consumed; their records cannot be made.
  let absentTensors: Set<String>
  /// What the request's edits changed; `nil` without edits.
  package let changes: ArchiveChanges?

  private init(
    _ plan: ConversionPlan, file: PlannedFile<QuantizationSummary>,
    absentTensors: Set<String> = [], changes: ArchiveChanges?
  ) {
    self.plan = plan
    self.file = file
    self.absentTensors = absentTensors
    self.changes = changes
  }

  private init(
    _ request: ConversionRequest, of archive: TensorArchive, root: String?,
    file: PlannedFile<QuantizationSummary>, content: ConversionPlan.Content,
    changes: ArchiveChanges?
  ) throws {
    let sources = try archive.sourceFiles.map(SourceFile.init(path:))
    self.init(
      ConversionPlan(request: request, sources: sources, root: root, content: content), file: file,
      changes: changes)
  }

  /// Plans to pack weight by weight.
  ///
  /// - Parameters:
  ///   - archive: the part of the model that `packer` packs, with the request's edits made.
  ///   - root: the place of that part in the checkpoint.
  ///   - changes: what the edits changed.
  /// - Throws: `ModelError` when kept tensors cannot be read.
  package init(
    _ request: ConversionRequest, packing archive: TensorArchive, root: String?,
    with packer: ModelPacker, changes: ArchiveChanges? = nil
  ) throws {
    let packed = try packer.packedPlan()
    try self.init(
      request, of: archive, root: root, file: packed.file, content: .packed(packed.header),
      changes: changes)
  }

  /// Plans to write `archive`, with the request's edits made, in the request's format.
  ///
  /// - Throws: `ModelError` when the format cannot hold the archive.
  package init(
    _ request: ConversionRequest, copying archive: TensorArchive, root: String?,
    changes: ArchiveChanges? = nil
  ) throws {
    let file = try Self.format(of: request).plan(archive)
    try self.init(
      request, of: archive, root: root, file: file.withCost(),
      content: .copy(CopyOutline(of: archive, in: file)), changes: changes)
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
  ///   - absentFiles: sources that a conversion has consumed; records of their tensors cannot be
  ///     made.
  ///   - threads: at least 1.
  /// - Throws: `ModelError` when sources have changed or the plan was made for others.
  package init(
    continuing plan: ConversionPlan, access: InputFile.Access, absentFiles: Set<String> = [],
    threads: Int
  ) throws {
    guard plan.request.producer == Producer.current else {
      throw ModelError.unsupported(
        "it was planned by \(plan.request.producer), whose output may differ from that of "
          + "\(Producer.current)", path: plan.request.input)
    }
    try plan.checkSources(absentFiles: absentFiles)
    let (archive, absentTensors, changes) = try Self.archive(
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
    self.init(plan, file: file, absentTensors: absentTensors, changes: changes)
  }

  /// Returns the archive as planned; tensors of absent files are included but cannot be read.
  private static func archive(
    of plan: ConversionPlan, access: InputFile.Access, absentFiles: Set<String>
  ) throws -> (archive: TensorArchive, absentTensors: Set<String>, changes: ArchiveChanges?) {
    let path = plan.sources.first?.path ?? plan.request.input
    var archive: TensorArchive
    if absentFiles.isEmpty {
      archive = try FormatRegistry.standard.open(path, access: access)
    } else {
      archive = try ShardedFormat(absentFiles: absentFiles)
        .read(InputFile(path: path, access: access))
    }
    if let root = plan.root { archive = try archive.selecting(root: root) }
    // Packing takes assembled tensors; copying takes tensors as they are stored.
    if case .packed = plan.content { archive = archive.assembled() }
    var changes: ArchiveChanges?
    if let edits = plan.request.edits {
      (archive, changes) = try archive.edited(by: edits)
    }
    var planned = archive
    switch plan.content {
    case .packed(let header):
      planned = TensorArchive(
        format: archive.format, values: header.values, metadata: header.metadata)
      planned.sourceFiles = archive.sourceFiles
    case .copy(let outline):
      planned.tensors = [:]
      // What the sources still say is exact; JSON does not keep the bits of a NaN.
      if !absentFiles.isEmpty {
        planned.values = outline.values
        planned.metadata = outline.metadata
      }
    }
    let forms = plan.tensors
    for (name, form) in forms {
      guard archive.tensors[name] != nil || !absentFiles.isEmpty else {
        throw ModelError.malformed("the plan is for another model", path: path, tensor: name)
      }
      planned.tensors[name] =
        try archive.tensors[name]?.interpreted(asOneOf: [form.elementType])
        ?? Tensor(elementType: form.elementType, shape: form.shape) {
          throw ModelError.malformed("the file that it was in has been consumed", tensor: name)
        }
    }
    return (planned, Set(forms.keys.filter { archive.tensors[$0] == nil }), changes)
  }
}

/// The state of a file when a model was read from it.
package struct SourceFile: Hashable, Sendable {
  package let path: String
  package let byteCount: Int
  /// The time of its last change in nanoseconds since 1970.
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

  /// Whether the file still exists and has not changed.
  package var isUnchanged: Bool { (try? SourceFile(path: path)) == self }

  /// Whether the file no longer exists or is empty: a file is emptied before it is deleted.
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

/// An output that got its name just before its journal was to be removed.
enum FinishedOutput {
  /// Whether the output of `plan` exists with every planned record, as listed in the journal.
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
  /// Returns the CRC-32 of bytes of the file, read in pieces.
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
