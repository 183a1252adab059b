import CSignals
import Glibc

/// The file `OUT.part` of a conversion that can be interrupted and continued: it stays when its
/// process ends, and becomes `OUT` when it is whole.
///
/// Several processes may place records in one partial file, each under a shared lock; finishing or
/// restarting a file needs an exclusive one. When ranks write a file together, the first holds the
/// lock.
package final class PartialFile: Sendable {
  /// The lock that a process takes; `heldElsewhere` when another process holds one for it.
  package enum Lock: Sendable { case shared, exclusive, heldElsewhere }

  /// Whether the file must exist already.
  package enum Opening: Sendable { case existing, either }

  /// `OUT.part`.
  package let path: String
  private let output: String
  private let destination: OutputDestination
  private let descriptor: Int32
  /// The index in the table of files that signals remove; negative if the file is to stay.
  private let slot: Int32

  /// Returns the path of the partial file of `output`: beside the file that a link leads to.
  package static func path(of output: String) -> String {
    "\(OutputDestination.resolved(output)).part"
  }

  /// Removes the partial name of a finished output whose process ended before it could do so
  /// itself. A file begun anew under that name would destroy the output.
  package static func removeName(ofFinished output: String) {
    let path = path(of: output)
    let descriptor = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    var (partial, whole, named) = (stat(), stat(), stat())
    // Compared before the lock is taken: even for a moment, it would turn away those who open a
    // file that is being written.
    guard fstat(descriptor, &partial) == 0, lstat(OutputDestination.resolved(output), &whole) == 0,
      (partial.st_dev, partial.st_ino) == (whole.st_dev, whole.st_ino),
      flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK,
      // Another process may have removed the name and begun a file under it.
      lstat(path, &named) == 0, named.st_ino == partial.st_ino
    else { return }
    unlink(path)
  }

  /// Opens the partial file of `output`; an existing one keeps its content.
  ///
  /// - Parameters:
  ///   - output: the path of the finished file.
  ///   - opening: whether the partial file must exist already.
  ///   - staysOnSignals: whether the file stays when a signal ends the process, to be continued.
  /// - Throws: `ModelError` when something is in the way at `output`, another process uses the
  ///   partial file, or it cannot be opened.
  package init(
    for output: String, replacesExisting: Bool, opening: Opening, lock: Lock = .exclusive,
    staysOnSignals: Bool = true
  ) throws {
    destination = try OutputDestination(path: output, replacesExisting: replacesExisting)
    self.output = output
    path = "\(destination.path).part"
    Self.removeName(ofFinished: output)
    let creation = opening == .existing ? 0 : O_CREAT
    descriptor = open(
      path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | creation, destination.permissions ?? 0o666)
    guard descriptor >= 0 else {
      throw ModelError(.system(operation: "open", code: errno), path: path)
    }
    var status = stat()
    let isRegular = fstat(descriptor, &status) == 0 && FileKind(status) == .regular
    let isLocked =
      lock == .heldElsewhere
      || flock(descriptor, (lock == .shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0
      || errno != EWOULDBLOCK  // a file system without locks
    // The previous holder of the lock may have renamed or removed the file.
    var named = stat()
    let hasName =
      lstat(path, &named) == 0 && (named.st_dev, named.st_ino) == (status.st_dev, status.st_ino)
    guard isRegular, isLocked, hasName else {
      close(descriptor)
      throw ModelError.unsupported(
        isRegular ? "another process is writing it" : "it is not a regular file", path: path)
    }
    if let permissions = destination.permissions { fchmod(descriptor, permissions) }
    slot = staysOnSignals ? -1 : condi_cleanup_add(path)
    // It may hold the only copy of its records, so its name must be as durable as its bytes.
    if opening != .existing { destination.synchronizeFolder() }
  }

  deinit {
    condi_cleanup_remove(slot)
    close(descriptor)
  }

  /// Writes bytes at offsets, from several threads and processes if need be.
  package var placement: PositionalFile { PositionalFile(path: path, descriptor: descriptor) }

  /// Discards the file's content.
  package func empty() throws { try placement.truncate(toByteCount: 0) }

  /// Makes the file at least `byteCount` long and reserves the space; its content stays.
  ///
  /// - Throws: `ModelError` when the disk lacks the space.
  package func reserve(byteCount: Int) throws {
    try placement.reserve(byteCount: byteCount)
  }

  /// Checks that the disk has space for a file that grows step by step to `byteCount`.
  ///
  /// - Parameter growth: the most it grows by before other files are deleted.
  /// - Throws: `ModelError` when the disk lacks the space.
  package func requireSpace(toGrowBy growth: Int, upTo byteCount: Int) throws {
    try placement.requireSpace(toGrowBy: growth, upTo: byteCount)
  }

  /// Returns the bytes that deleting the file at `path` frees on this file's disk; 0 if it lies on
  /// another one.
  package func byteCountFreed(byDeleting path: String) -> Int {
    var (own, other) = (stat(), stat())
    guard fstat(descriptor, &own) == 0, stat(path, &other) == 0, own.st_dev == other.st_dev else {
      return 0
    }
    return Int(other.st_blocks) * 512
  }

  /// Whether the bytes at `offset` have this CRC-32; false if the file ends before they do.
  package func holds(checksum: UInt32, at offset: Int, byteCount: Int) throws -> Bool {
    let pieceByteCount = 1 << 20
    var found: UInt32 = 0
    return try withUnsafeTemporaryAllocation(byteCount: pieceByteCount, alignment: 64) { buffer in
      for done in stride(from: 0, to: byteCount, by: pieceByteCount) {
        let piece = UnsafeMutableRawBufferPointer(
          rebasing: buffer[..<min(pieceByteCount, byteCount - done)])
        guard try placement.read(into: piece, at: offset + done) == piece.count else {
          return false
        }
        found = CRC32.checksum(UnsafeRawBufferPointer(piece), seed: found)
      }
      return found == checksum
    }
  }

  /// Makes the written bytes durable.
  ///
  /// - Throws: `ModelError` when the disk fails or the file has been removed meanwhile.
  package func synchronize() throws { try placement.synchronize() }

  /// Asks the system to read the next bytes from the disk: after a disk has failed, memory may
  /// still hold what was lost.
  package func forgetCache() { posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED) }

  /// Truncates the file to `byteCount`, makes it durable and gives it its name.
  ///
  /// - Throws: `ModelError` when the disk fails, something appeared at the output's path, or bytes
  ///   of a mapped input turned out to be missing.
  package func finish(byteCount: Int) throws {
    try SignalHandlers.checkInputs()
    try placement.truncate(toByteCount: byteCount)
    guard fsync(descriptor) == 0 else {
      throw ModelError(.system(operation: "write", code: errno), path: path)
    }
    try destination.place(path, calledBy: output)
    unlink(path)
    destination.synchronizeFolder()
  }

  /// Removes the file.
  package func remove() { unlink(path) }
}
