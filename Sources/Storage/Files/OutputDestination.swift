import Glibc

/// The resolved location of an output file, after checking what exists there now.
///
/// A symbolic link to a file is followed, as by `cp` and `>`: the file it leads to is replaced in
/// its own folder, and the link stays. A dangling link is refused, because it does not reveal what
/// it should become; so is anything that is not a regular file.
package struct OutputDestination {
  /// The path with a final symbolic link resolved.
  package let path: String
  package let replacesExisting: Bool
  /// The permissions of the file being replaced.
  let permissions: mode_t?

  /// Resolves `path` and checks that a file can be written there.
  ///
  /// - Throws: `ModelError` if `path` cannot be written, or exists and may not be replaced.
  package init(path: String, replacesExisting: Bool) throws {
    guard !path.isEmpty, !path.hasSuffix("/") else {
      throw ModelError(.system(operation: "write", code: EISDIR), path: path)
    }
    self.replacesExisting = replacesExisting
    var status = stat()
    guard lstat(path, &status) == 0 else {
      guard errno == ENOENT else {
        throw ModelError(.system(operation: "create the file", code: errno), path: path)
      }
      guard access(Self.folder(of: path), F_OK) == 0 else {
        throw ModelError.unsupported(
          "there is no folder '\(Self.folder(of: path))'; make it first", path: path)
      }
      self.path = path
      permissions = nil
      return
    }
    if FileKind(status) == .link, stat(path, &status) != 0 {
      guard errno == ENOENT else {
        throw ModelError(.system(operation: "follow the link", code: errno), path: path)
      }
      throw ModelError.unsupported("it is a broken symbolic link", path: path)
    }
    self.path = Self.resolved(path)
    guard FileKind(status) == .regular else {
      throw ModelError.unsupported(FileKind(status).refusal, path: path)
    }
    guard replacesExisting else { throw ModelError(.outputExists, path: path) }
    permissions = status.st_mode & 0o777
  }

  /// Checks that a file can be written at `path`.
  ///
  /// - Throws: `ModelError` if `path` cannot be written, or exists and may not be replaced.
  package static func check(_ path: String, replacesExisting: Bool) throws {
    _ = try OutputDestination(path: path, replacesExisting: replacesExisting)
  }

  /// Returns the path with a final symbolic link resolved, or the path itself if that fails.
  package static func resolved(_ path: String) -> String {
    var status = stat()
    guard lstat(path, &status) == 0, FileKind(status) == .link,
      let resolved = realpath(path, nil)
    else { return path }
    defer { free(resolved) }
    return String(cString: resolved)
  }

  package var folder: String { Self.folder(of: path) }

  /// Returns the folder that contains the file at `path`.
  package static func folder(of path: String) -> String {
    let folder = path.deletingLastPathComponent
    return folder.isEmpty ? "." : folder
  }

  package var name: String { path.lastPathComponent }

  /// Moves the complete and durable file at `temporaryPath` to this path.
  ///
  /// - Parameter name: The path as the user gave it.
  /// - Throws: `ModelError` if a file that may not be replaced has appeared at the path.
  package func place(_ temporaryPath: String, calledBy name: String) throws {
    // `link` refuses an existing path, so without --force nothing that appeared since the first
    // check is lost; `rename` replaces.
    var result = replacesExisting ? rename(temporaryPath, path) : link(temporaryPath, path)
    if result != 0, errno == EPERM || errno == EOPNOTSUPP, !replacesExisting {
      result = rename(temporaryPath, path)  // a file system without hard links
    }
    guard result == 0 else {
      let problem: ModelError.Problem =
        errno == EEXIST ? .outputExists : .system(operation: "put the file in place", code: errno)
      throw ModelError(problem, path: name)
    }
  }

  /// Makes a rename durable. A folder that cannot be opened is not an error.
  package func synchronizeFolder() { Self.synchronizeFolder(of: path) }

  /// Makes the name of a file durable after it was created at `path` or renamed to it.
  package static func synchronizeFolder(of path: String) {
    let number = open(folder(of: path), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard number >= 0 else { return }
    fsync(number)
    close(number)
  }
}
