import Glibc

/// An unnamed file for data that does not fit in memory.
///
/// It disappears when its last reference is released, however the process ends.
package final class ScratchFile: Sendable {
  private let file: PositionalFile

  /// A path by which this process can open the file.
  package var path: String { "/proc/self/fd/\(file.descriptor)" }

  /// Creates a file on the disk of `folder`.
  ///
  /// - Parameter byteCount: The number of bytes to reserve, if the size is known.
  /// - Throws: `ModelError` if the folder is not writable or its disk has too little space.
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

  /// Writes `bytes` at `offset`. Several threads may write at the same time.
  ///
  /// - Throws: `ModelError` if the disk is full or fails.
  package func write(_ bytes: SharedBytes, at offset: Int) throws {
    try file.write(bytes, at: offset)
  }

  /// Reads the bytes at `offset` from the file.
  ///
  /// - Throws: `ModelError` if the disk fails or fewer than `count` bytes were written there.
  package func bytes(at offset: Int, count: Int) throws -> SharedBytes {
    try SharedBytes(count: count) { buffer in
      guard try file.read(into: buffer, at: offset) == count else {
        throw ModelError(
          .system(operation: "read a temporary file in it", code: EIO), path: file.path)
      }
    }
  }
}
