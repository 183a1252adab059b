import CFiles
import Glibc

/// Reads and writes an open file at given offsets. The owner closes the file.
///
/// Threads may read and write at the same time if their writes are disjoint.
package struct PositionalFile: Sendable {
  package let path: String
  package let descriptor: Int32

  package init(path: String, descriptor: Int32) {
    self.path = path
    self.descriptor = descriptor
  }

  package func write(_ bytes: SharedBytes, at offset: Int) throws {
    try bytes.withUnsafeBytes { try write($0, at: offset) }
  }

  package func write(_ buffer: UnsafeRawBufferPointer, at offset: Int) throws {
    var done = 0
    while done < buffer.count {
      let rest = UnsafeRawBufferPointer(rebasing: buffer[done...])
      let count = pwrite(descriptor, rest.baseAddress, rest.count, off_t(offset + done))
      if count < 0 && errno == EINTR { continue }
      // The kernel reads mapped input itself, so missing pages cause an error instead of a signal.
      if count < 0, errno == EFAULT { throw FileMapping.fault(touching: rest) }
      guard count > 0 else {
        throw ModelError(
          .system(operation: "write", code: count == 0 ? ENOSPC : errno), path: path,
          offset: offset + done)
      }
      done += count
    }
  }

  /// Fills `buffer` with the bytes at `offset`, up to the end of the file.
  ///
  /// - Returns: The number of bytes read, which is less than requested if the file ends earlier.
  package func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws -> Int {
    var done = 0
    while done < buffer.count {
      let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
      let count = pread(descriptor, rest.baseAddress, rest.count, off_t(offset + done))
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else {
        throw ModelError(
          .system(operation: "read", code: errno), path: path, offset: offset + done)
      }
      guard count > 0 else { break }
      done += count
    }
    return done
  }

  /// Makes the written data durable.
  ///
  /// - Throws: `ModelError` if the disk fails or the file has been unlinked.
  package func synchronize() throws {
    guard fdatasync(descriptor) == 0 else {
      throw ModelError(.system(operation: "write", code: errno), path: path)
    }
    var status = stat()
    guard fstat(descriptor, &status) != 0 || status.st_nlink > 0 else {
      throw ModelError.unsupported("it was removed while it was being written", path: path)
    }
  }

  /// Extends the file to at least `byteCount` bytes and reserves the space if the file system can.
  ///
  /// - Throws: `ModelError` if the disk has too little space.
  package func reserve(byteCount: Int) throws {
    guard byteCount > 0 else { return }
    try requireSpace(toGrowBy: byteCount, upTo: byteCount)
    switch condi_reserve(descriptor, off_t(byteCount)) {
    case 0: return
    // `posix_fallocate` would fall back to writing every block, over concurrent writes by others.
    case EOPNOTSUPP, ENOSYS, EINVAL:
      var status = stat()
      guard fstat(descriptor, &status) != 0 || Int(status.st_size) < byteCount else { return }
      try truncate(toByteCount: byteCount)
    case let code:
      throw ModelError(
        .system(operation: "reserve \(counted(byteCount, "byte"))", code: code), path: path)
    }
  }

  /// Sets the file's length.
  package func truncate(toByteCount byteCount: Int) throws {
    guard ftruncate(descriptor, off_t(byteCount)) == 0 else {
      throw ModelError(.system(operation: "write", code: errno), path: path)
    }
  }

  /// Checks that the disk has space for the file to grow.
  ///
  /// - Parameters:
  ///   - growth: The largest number of bytes written to it before other files are deleted.
  ///   - byteCount: The file's final length, part of which may already be allocated.
  /// - Throws: `ModelError` stating the free space if the file's disk has too little.
  package func requireSpace(toGrowBy growth: Int, upTo byteCount: Int) throws {
    var status = stat()
    guard fstat(descriptor, &status) == 0, let free = freeByteCount else { return }
    let missing = min(growth, byteCount - Int(status.st_blocks) * 512)
    guard missing <= free else {
      throw ModelError.mismatch(
        expected: "\(counted(missing, "byte")) of free disk space", found: "\(free)", path: path)
    }
  }

  /// The bytes that this process may still write on the file's disk; `nil` if the disk reports
  /// none.
  private var freeByteCount: Int? {
    var status = statvfs()
    guard fstatvfs(descriptor, &status) == 0, status.f_blocks > 0 else { return nil }
    // Some blocks are reserved for root.
    let blocks = geteuid() == 0 ? status.f_bfree : status.f_bavail
    let (bytes, overflow) = UInt(blocks).multipliedReportingOverflow(
      by: UInt(status.f_frsize))
    return overflow ? nil : Int(exactly: bytes)
  }
}
