import Foundation

/// A file without a name, for bytes that would be too many for memory.
///
/// It is gone when nobody refers to it any more, however the process ends.
package final class ScratchFile: Sendable {
  private let descriptor: Int32
  private let folder: String

  /// Creates an empty file on the disk of `folder`.
  ///
  /// - Throws: `FormatError` when the folder cannot be written.
  package init(in folder: String) throws {
    self.folder = folder
    var template = Array("\(folder)/.condi-convert-XXXXXX".utf8CString)
    descriptor = mkstemp(&template)
    guard descriptor >= 0 else {
      throw FormatError(
        .system(operation: "keep a temporary file in it", code: errno), path: folder)
    }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    unlink(template)
  }

  deinit { close(descriptor) }

  /// Puts `bytes` at an offset; several threads may do so at the same time.
  ///
  /// - Throws: `FormatError` when the disk is full or fails.
  package func write(_ bytes: SharedBytes, at offset: Int) throws {
    try FilePlacement(path: folder, descriptor: descriptor).write(bytes, at: offset)
  }

  /// The bytes at an offset, read anew.
  ///
  /// - Throws: `FormatError` when the disk fails, or that many were not written there.
  package func bytes(at offset: Int, count: Int) throws -> SharedBytes {
    try SharedBytes(count: count) { buffer in
      var done = 0
      while done < count {
        let start = buffer.baseAddress.map { $0 + done }
        let found = pread(descriptor, start, count - done, off_t(offset + done))
        if found < 0, errno == EINTR { continue }
        guard found > 0 else {
          throw FormatError(
            .system(operation: "read a temporary file in it", code: found < 0 ? errno : EIO),
            path: folder)
        }
        done += found
      }
    }
  }
}
