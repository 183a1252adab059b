import Glibc

/// A file without a name, for bytes that would be too many for memory.
///
/// It is gone when nobody refers to it any more, however the process ends.
package final class ScratchFile: Sendable {
  private let file: PositionalFile

  /// Where this process can open the file.
  package var path: String { "/proc/self/fd/\(file.descriptor)" }

  /// Creates a file on the disk of `folder`.
  ///
  /// - Parameter byteCount: what it is to hold, where that is known: the space is reserved.
  /// - Throws: `ModelError` when the folder cannot be written, or its disk has not enough space.
  package init(in folder: String, reserving byteCount: Int = 0) throws {
    var template = Array("\(folder)/.condi-convert-XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    guard descriptor >= 0 else {
      throw ModelError(
        .system(operation: "keep a temporary file in it", code: errno), path: folder)
    }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    unlink(template)
    file = PositionalFile(path: folder, descriptor: descriptor)
    try file.reserve(byteCount: byteCount)
  }

  deinit { close(file.descriptor) }

  /// Puts `bytes` at an offset; several threads may do so at the same time.
  ///
  /// - Throws: `ModelError` when the disk is full or fails.
  package func write(_ bytes: SharedBytes, at offset: Int) throws {
    try file.write(bytes, at: offset)
  }

  /// The bytes at an offset, read anew.
  ///
  /// - Throws: `ModelError` when the disk fails, or that many were not written there.
  package func bytes(at offset: Int, count: Int) throws -> SharedBytes {
    try SharedBytes(count: count) { buffer in
      guard try file.read(into: buffer, at: offset) == count else {
        throw ModelError(
          .system(operation: "read a temporary file in it", code: EIO), path: file.path)
      }
    }
  }
}
