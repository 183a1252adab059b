import CFiles
import Glibc

/// Reads and writes at offsets of an open file, which its owner closes.
///
/// Threads may do so at the same time, where what they write is disjoint.
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
      // The kernel reads mapped input itself, so missing pages of it are an error and no signal.
      if count < 0, errno == EFAULT { throw FileMapping.fault(touching: rest) }
      guard count > 0 else {
        throw ModelError(
          .system(operation: "write", code: count == 0 ? ENOSPC : errno), path: path,
          offset: offset + done)
      }
      done += count
    }
  }

  /// Fills `buffer` with the bytes at `offset`, as far as there are any.
  ///
  /// - Returns: how many there were: fewer than wanted where the file ends before.
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

  /// Makes what was written durable.
  ///
  /// - Throws: `ModelError` when the disk fails, and when the file has no name any more.
  package func synchronize() throws {
    guard fdatasync(descriptor) == 0 else {
      throw ModelError(.system(operation: "write", code: errno), path: path)
    }
    var status = stat()
    guard fstat(descriptor, &status) != 0 || status.st_nlink > 0 else {
      throw ModelError.unsupported("it was removed while it was being written", path: path)
    }
  }

  /// Makes the file at least so long, reserving the space for all of it where the file system can.
  ///
  /// - Throws: `ModelError` when the disk has not enough space.
  package func reserve(byteCount: Int) throws {
    guard byteCount > 0 else { return }
    try requireSpace(toGrowBy: byteCount, upTo: byteCount)
    switch condi_reserve(descriptor, off_t(byteCount)) {
    case 0: return
    // Not by `posix_fallocate`, which then writes to every block, and over what others write meanwhile.
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

  /// - Parameters:
  ///   - growth: the most bytes that will be written to it before others are free.
  ///   - byteCount: the length that it will have; of that it may have taken some space already.
  /// - Throws: `ModelError` when the file's disk has not enough space; what there is, it says.
  package func requireSpace(toGrowBy growth: Int, upTo byteCount: Int) throws {
    var status = stat()
    guard fstat(descriptor, &status) == 0, let free = freeByteCount else { return }
    let missing = min(growth, byteCount - Int(status.st_blocks) * 512)
    guard missing <= free else {
      throw ModelError.mismatch(
        expected: "\(counted(missing, "byte")) of free disk space", found: "\(free)", path: path)
    }
  }

  /// Bytes that this process may still write on the file's disk; `nil` where it does not say.
  private var freeByteCount: Int? {
    var status = statvfs()
    guard fstatvfs(descriptor, &status) == 0, status.f_blocks > 0 else { return nil }
    // Some blocks are root's alone.
    let blocks = geteuid() == 0 ? status.f_bfree : status.f_bavail
    let (bytes, overflow) = UInt(blocks).multipliedReportingOverflow(
      by: UInt(status.f_frsize))
    return overflow ? nil : Int(exactly: bytes)
  }
}
