import Formats
import Foundation
import Synchronization

/// Deletes each source when every tensor in it is safely in the output's partial file.
///
/// Until the output is whole, what was deleted is in the partial file alone, and the journal beside it
/// says where. Losing either loses it.
package struct InputConsumption: Sendable {
  private let state: State

  private final class State: Sendable {
    /// By path, records that are still to be made before the file may be deleted.
    let missing: Mutex<[String: Set<Int>]>
    init(_ missing: [String: Set<Int>]) { self.missing = Mutex(missing) }
  }

  /// - Parameters:
  ///   - archive: the whole model, of which nothing is left out.
  /// - Throws: `FormatError` for sources whose deletion would lose something, or free nothing.
  package init(_ conversion: Conversion, of archive: TensorArchive) throws {
    try Self.check(conversion, archive)
    self.init(conversion, files: archive.fileOfTensor)
  }

  /// The sources among `paths` that are gone; one that was emptied, but not deleted yet, is deleted.
  static func absentFiles(of plan: ConversionPlan, among paths: [String]) -> Set<String> {
    let absent = plan.sources.filter { paths.contains($0.path) && !$0.isUnchanged }.map(\.path)
    for path in absent where (try? SourceFile(path: path))?.byteCount == 0 { unlink(path) }
    return Set(absent)
  }

  /// Goes on deleting, as an earlier run of the same conversion did.
  init(_ conversion: Conversion, absentFiles: Set<String>) throws {
    let path = conversion.plan.sources.first?.path ?? conversion.plan.request.input
    guard conversion.plan.sources.count > 1 else {
      self.init(conversion, files: [:])
      return
    }
    let archive = try ShardedFormat(absentFiles: absentFiles)
      .read(InputFile(path: path, access: .read))
    try Self.check(conversion, archive, absentFiles: absentFiles)
    self.init(conversion, files: archive.fileOfTensor)
  }

  private init(_ conversion: Conversion, files: [String: String]) {
    var missing: [String: Set<Int>] = [:]
    for (index, record) in conversion.file.records.enumerated() {
      for name in record.names {
        if let file = files[name] { missing[file, default: []].insert(index) }
      }
    }
    state = State(missing)
  }

  /// Notes that records are in place, and deletes the files that nothing is missing of.
  ///
  /// - Parameter prepare: called before a file is deleted, to make all of it durable elsewhere.
  func complete(_ indices: [Int], preparing prepare: (_ path: String) throws -> Void) throws {
    try state.missing.withLock { missing in
      for (path, records) in missing {
        let rest = records.subtracting(indices)
        missing[path] = rest
        guard rest.isEmpty else { continue }
        try prepare(path)
        try Self.delete(path)
        missing[path] = nil
      }
    }
  }

  /// Deletes a model that is one file, once the output is in its place.
  func deleteWhole(_ plan: ConversionPlan) throws {
    guard plan.sources.count == 1, let source = plan.sources.first else { return }
    try Self.delete(source.path)
  }

  /// Frees the file's space though this process still has it open, then its name.
  private static func delete(_ path: String) throws {
    guard truncate(path, 0) == 0, unlink(path) == 0 else {
      throw FormatError(.system(operation: "delete the consumed file", code: errno), path: path)
    }
  }

  private static func check(
    _ conversion: Conversion, _ archive: TensorArchive, absentFiles: Set<String> = []
  ) throws {
    let plan = conversion.plan
    func refused(_ reason: String, path: String) -> FormatError {
      FormatError.unsupported("\(reason), so it is not consumed", path: path)
    }
    guard plan.root == nil else {
      throw refused("only a part of it is taken", path: plan.request.input)
    }
    for (position, source) in plan.sources.enumerated() where !absentFiles.contains(source.path) {
      var status = stat()
      guard lstat(source.path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
        throw refused("it is not a regular file", path: source.path)
      }
      guard status.st_nlink == 1 else {
        throw refused("it has other names, under which its space stays in use", path: source.path)
      }
      guard realpath(source.path) != realpath(plan.request.output) else {
        throw refused("it is the output", path: source.path)
      }
      // The index of a sharded checkpoint stays.
      if position == 0, plan.sources.count > 1 { continue }
      let file = try InputFile(path: source.path, access: .read)
      guard SafetensorsFormat().recognizes(file) else {
        throw refused(
          "it is not a safetensors file, and may hold more than tensors", path: source.path)
      }
    }
    let left = archive.tensors.keys.first { plan.header.names[$0] == nil }
    if let left {
      throw refused(
        "the conversion leaves its tensor '\(left)' out", path: plan.request.input)
    }
    let used = Set(archive.fileOfTensor.values)
    if plan.sources.count > 1,
      let idle = plan.sources.dropFirst().first(where: {
        !absentFiles.contains($0.path) && !used.contains($0.path)
      })
    {
      throw refused("no tensor is taken from it", path: idle.path)
    }
    // Where files are absent, reading the others has that to remark.
    guard archive.notes.isEmpty || !absentFiles.isEmpty else {
      throw refused(
        "reading it left something to remark: \(archive.notes[0])", path: plan.request.input)
    }
  }

  /// The path with all links followed; `nil` where nothing is there.
  private static func realpath(_ path: String) -> String? {
    guard let resolved = Foundation.realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return String(cString: resolved)
  }
}
