import Foundation

/// The descriptor of a regular file, with the length and the date that it had when it was opened.
final class OpenFile: Sendable {
  let descriptor: Int32
  let byteCount: Int
  private let modification: (seconds: Int, nanoseconds: Int)

  /// - Throws: `FormatError` when the path cannot be opened or is not a regular file.
  init(path: String) throws {
    // O_NONBLOCK: opening a pipe must report "not a regular file", not wait for a writer.
    descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else {
      throw FormatError(.system(operation: "open", code: errno), path: path)
    }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      let code = errno
      close(descriptor)
      throw FormatError(.system(operation: "read the file's status", code: code), path: path)
    }
    guard FileKind(status) == .regular else {
      close(descriptor)
      throw FormatError.unsupported(FileKind(status).refusal, path: path)
    }
    byteCount = Int(status.st_size)
    modification = (status.st_mtim.tv_sec, status.st_mtim.tv_nsec)
  }

  deinit { close(descriptor) }

  /// Compares the file's length and date with those at the opening, which costs one system call.
  func checkUnchanged(path: String) throws {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      throw FormatError(.system(operation: "read the file's status", code: errno), path: path)
    }
    guard Int(status.st_size) == byteCount else {
      throw FormatError.mismatch(
        expected: "a file of \(counted(byteCount, "byte")), as when it was opened",
        found: "\(status.st_size): another program is writing to it", path: path)
    }
    guard (status.st_mtim.tv_sec, status.st_mtim.tv_nsec) == modification else {
      throw FormatError.malformed(
        "the file was changed by another program while it was read", path: path)
    }
  }

  /// Fills `buffer` with the bytes at `offset`.
  func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: Int, path: String, purpose: String
  ) throws {
    let count = try PositionalFile(path: path, descriptor: descriptor)
      .read(into: buffer, at: offset)
    guard count == buffer.count else {
      throw FormatError(
        .truncated(expectedBytes: buffer.count, foundBytes: count, purpose: purpose),
        path: path, offset: offset)
    }
  }
}
