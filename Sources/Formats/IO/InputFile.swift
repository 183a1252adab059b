import Foundation

/// A regular file opened for reading, mapped or read on demand.
///
/// This is the only place that maps a file. Bytes are handed out as `SharedBytes` that keep the
/// mapping alive.
public final class InputFile: Sendable {
  /// How bytes reach memory.
  public enum Access: Sendable {
    /// Mapped pages, shared with the page cache. The file must not shrink while in use.
    case mapped
    /// Read with `pread` when asked for: for network disks and for files that may change.
    case read
  }

  /// The path as the user gave it.
  public let path: String
  public let byteCount: Int
  public let access: Access
  private let descriptor: FileDescriptor
  private let mapping: Mapping?

  /// - Throws: `FormatError` when the path cannot be opened or is not a regular file.
  public init(path: String, access: Access = .mapped) throws {
    self.path = path
    self.access = access
    // O_NONBLOCK: opening a pipe must report "not a regular file", not wait for a writer.
    let number = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard number >= 0 else {
      throw FormatError(.system(operation: "open", code: errno), path: path)
    }
    descriptor = FileDescriptor(number: number)

    var status = stat()
    guard fstat(number, &status) == 0 else {
      throw FormatError(.system(operation: "read the file's status", code: errno), path: path)
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw FormatError.unsupported("not a regular file", path: path)
    }
    byteCount = Int(status.st_size)
    mapping =
      access == .mapped && byteCount > 0
      ? try Mapping(descriptor: number, byteCount: byteCount, path: path) : nil
  }

  /// The bytes at `offset`, which is checked against the file's length first.
  ///
  /// - Parameter purpose: what the bytes are for, as it reads in "expected 8 bytes for …".
  public func bytes(at offset: Int, count: Int, purpose: String) throws -> SharedBytes {
    guard offset >= 0, count >= 0, offset <= byteCount, count <= byteCount - offset else {
      let found = offset < 0 ? 0 : max(0, byteCount - offset)
      throw FormatError(
        .truncated(expectedBytes: count, foundBytes: found, purpose: purpose),
        path: path, offset: offset)
    }
    guard count > 0 else { return SharedBytes() }
    if let mapping {
      return SharedBytes(
        UnsafeRawBufferPointer(rebasing: mapping.buffer[offset..<offset + count]), owner: mapping)
    }
    return try SharedBytes(count: count) { buffer in
      try descriptor.read(into: buffer, at: offset, path: path, purpose: purpose)
    }
  }

  /// A duplicate of the open descriptor, which the caller closes.
  func duplicateDescriptor() throws -> Int32 {
    let duplicate = fcntl(descriptor.number, F_DUPFD_CLOEXEC, 0)
    guard duplicate >= 0 else {
      throw FormatError(.system(operation: "open", code: errno), path: path)
    }
    return duplicate
  }

  private final class FileDescriptor: Sendable {
    let number: Int32

    init(number: Int32) { self.number = number }

    deinit { close(number) }

    func read(
      into buffer: UnsafeMutableRawBufferPointer, at offset: Int, path: String, purpose: String
    ) throws {
      var done = 0
      while done < buffer.count {
        let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
        let count = pread(number, rest.baseAddress, rest.count, off_t(offset + done))
        if count < 0 && errno == EINTR { continue }
        guard count >= 0 else {
          throw FormatError(
            .system(operation: "read", code: errno), path: path, offset: offset + done)
        }
        guard count > 0 else {
          throw FormatError(
            .truncated(expectedBytes: buffer.count, foundBytes: done, purpose: purpose),
            path: path, offset: offset)
        }
        done += count
      }
    }
  }

  // Sendable: the mapping is read-only and lives until the last slice is gone.
  private final class Mapping: @unchecked Sendable {
    let buffer: UnsafeRawBufferPointer

    init(descriptor: Int32, byteCount: Int, path: String) throws {
      let address = mmap(nil, byteCount, PROT_READ, MAP_PRIVATE, descriptor, 0)
      guard let address, address != MAP_FAILED else {
        throw FormatError(.system(operation: "map", code: errno), path: path)
      }
      buffer = UnsafeRawBufferPointer(start: address, count: byteCount)
    }

    deinit { munmap(UnsafeMutableRawPointer(mutating: buffer.baseAddress), buffer.count) }
  }
}
