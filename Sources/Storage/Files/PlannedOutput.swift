import Glibc

/// Planned files that belong together, such as weights and their configuration in one folder.
package struct PlannedOutput: Sendable {
  /// Where a file lies.
  private enum Place {
    /// At the path of the output.
    case path
    /// In the folder at that path.
    case inside(name: String)
    /// Beside that path.
    case sibling(name: String)
    /// At that path with something after it.
    case suffixed(String)
    /// At that path with another extension.
    case beside(pathExtension: String)

    func path(for output: String) -> String {
      switch self {
      case .path: output
      case .inside(let name): "\(output)/\(name)"
      case .sibling(let name): output.folderPrefix + name
      case .suffixed(let suffix): output + suffix
      case .beside(let pathExtension):
        "\(output.folderPrefix)\(output.pathStem).\(pathExtension)"
      }
    }
  }

  /// The files. If there are several, the one that names the others comes first and appears last.
  private let files: [(place: Place, file: PlannedFile<Never>)]
  private let isFolder: Bool

  /// Creates an output of one file.
  package init(_ file: PlannedFile<Never>) { self.init(file: file, beside: []) }

  /// Creates an output of one file and of others that have its name with other extensions.
  package init(
    file: PlannedFile<Never>, beside others: [(pathExtension: String, file: PlannedFile<Never>)]
  ) {
    files = [(.path, file)] + others.map { (.beside(pathExtension: $0.pathExtension), $0.file) }
    isFolder = false
  }

  /// Creates an output of an index, whose name is the path and a suffix, and of files beside it.
  package init(
    index: PlannedFile<Never>, suffix: String,
    of files: [(name: String, file: PlannedFile<Never>)]
  ) {
    self.files =
      [(.suffixed(suffix), index)] + files.map { (.sibling(name: $0.name), $0.file) }
    isFolder = false
  }

  /// Creates an output of files in a folder, which is created if it does not exist.
  package init(folderOf files: [(name: String, file: PlannedFile<Never>)]) {
    self.files = files.map { (.inside(name: $0.name), $0.file) }
    isFolder = true
  }

  /// The paths of the files of an output at `path`.
  package func paths(for path: String) -> [String] { files.map { $0.place.path(for: path) } }

  /// Writes every file, each of which appears whole or not at all.
  ///
  /// All files are begun before any of them appears, so that none appears where there is an obstacle
  /// to another.
  ///
  /// - Parameters:
  ///   - path: the file or folder to write.
  ///   - run: makes the records.
  ///   - progress: called with each record's tensor and source bytes, from any thread.
  /// - Returns: the paths and lengths of the files, in the order in which they appeared.
  /// - Throws: `ModelError` when reading or writing fails.
  package func write(
    to path: String, replacesExisting: Bool, runningTasks run: @escaping TaskRunner,
    progress: WriteProgress?
  ) throws -> [(path: String, byteCount: Int)] {
    let folder = isFolder ? try OutputFolder(creating: path) : nil
    do {
      return try write(
        files.map { ($0.place.path(for: path), $0.file) }[...],
        replacesExisting: replacesExisting, runningTasks: run, progress: progress)
    } catch {
      folder?.removeIfCreated()
      throw error
    }
  }

  private func write(
    _ files: ArraySlice<(path: String, file: PlannedFile<Never>)>, replacesExisting: Bool,
    runningTasks run: @escaping TaskRunner, progress: WriteProgress?
  ) throws -> [(path: String, byteCount: Int)] {
    guard let (path, file) = files.first else { return [] }
    var writer = try AtomicFileWriter(path: path, replacesExisting: replacesExisting)
    // The disk must have room for this file and those that follow.
    let byteCount = files.reduce(0) { $0 + $1.file.knownByteCount }
    try writer.placement.requireSpace(toGrowBy: byteCount, upTo: byteCount)
    let written = try locatingErrors(path: path) {
      try writer.write(file, runningTasks: run, progress: progress)
    }
    let others = try write(
      files.dropFirst(), replacesExisting: replacesExisting, runningTasks: run,
      progress: progress)
    try writer.finish()
    return others + [(path, written.byteCount)]
  }
}

extension PlannedFile where Cost == Never {
  /// Plans a file whose bytes are known already.
  package init(content: SharedBytes) {
    self.init([], recordsEnd: 0, knownByteCount: content.count) { _ in
      [FilePiece(offset: 0, bytes: content)]
    }
  }
}

/// A folder for output files, created if it does not exist.
private struct OutputFolder {
  private let path: String
  private let isCreated: Bool

  /// - Throws: `ModelError` when something else is at `path` or the folder cannot be created.
  init(creating path: String) throws {
    self.path = path
    isCreated = mkdir(path, 0o777) == 0
    guard isCreated || errno == EEXIST else {
      throw ModelError(.system(operation: "create the folder", code: errno), path: path)
    }
    guard path.isFolder else {
      throw ModelError(.system(operation: "write into it", code: ENOTDIR), path: path)
    }
  }

  /// Removes the folder if it was created here and is empty.
  func removeIfCreated() {
    if isCreated { rmdir(path) }
  }
}
