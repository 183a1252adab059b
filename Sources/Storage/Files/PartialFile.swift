import CSignals
import Glibc

/// The file `OUT.part` that a conversion writes which may be interrupted and continued: it stays when
/// its process ends, and becomes `OUT` when it is whole.
///
/// Several processes may place records in one partial file. Each holds a shared lock; whoever finishes
/// or begins one anew needs it alone. Of ranks that write one together, the first holds the lock.
package final class PartialFile: Sendable {
  /// Whether a process needs the file alone, or another one holds the lock for it.
  package enum Lock: Sendable { case shared, exclusive, heldElsewhere }

  /// Whether the file must be there already.
  package enum Opening: Sendable { case existing, either }

  /// `OUT.part`.
  package let path: String
  private let output: String
  private let destination: OutputDestination
  private let descriptor: Int32
  /// The place in the table of files that signals remove; negative where it stays.
  private let slot: Int32

  /// Where the partial file of `output` is: beside the file that a link leads to.
  package static func path(of output: String) -> String {
    "\(OutputDestination.resolved(output)).part"
  }

  /// Takes the partial name from an output that is whole: the process that finished it ended before it
  /// could. Whatever began anew under that name would destroy the output.
  package static func removeName(ofFinished output: String) {
    let path = path(of: output)
    let descriptor = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    var (partial, whole) = (stat(), stat())
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK,
      fstat(descriptor, &partial) == 0, lstat(OutputDestination.resolved(output), &whole) == 0,
      (partial.st_dev, partial.st_ino) == (whole.st_dev, whole.st_ino)
    else { return }
    unlink(path)
  }

  /// - Parameters:
  ///   - output: where the file will be.
  ///   - opening: what an existing partial file holds stays.
  ///   - staysOnSignals: whether it is left when a signal ends the process, for a run that continues.
  /// - Throws: `ModelError` when something is in the way at `output`, when another process uses the
  ///   partial file, and when it cannot be opened.
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
    // Whoever had the lock before may have given the file another name, or removed it.
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
    // What is placed in it may be the only copy: its name must be as durable as its bytes.
    if opening != .existing { destination.synchronizeFolder() }
  }

  deinit {
    condi_cleanup_remove(slot)
    close(descriptor)
  }

  /// For placing bytes at offsets, from several threads and processes where it helps.
  package var placement: PositionalFile { PositionalFile(path: path, descriptor: descriptor) }

  /// Discards what is in the file.
  package func empty() throws { try placement.truncate(toByteCount: 0) }

  /// Makes the file at least `byteCount` long, reserving the space; what is there stays.
  ///
  /// - Throws: `ModelError` when the disk has not enough space.
  package func reserve(byteCount: Int) throws {
    try placement.reserve(byteCount: byteCount)
  }

  /// Checks that the disk has space where the file is to grow by parts to `byteCount`.
  ///
  /// - Parameter growth: what it grows by at most before other files are deleted.
  /// - Throws: `ModelError` when it has not.
  package func requireSpace(toGrowBy growth: Int, upTo byteCount: Int) throws {
    try placement.requireSpace(toGrowBy: growth, upTo: byteCount)
  }

  /// What deleting the file at `path` gives back on this file's disk; 0 for one on another disk.
  package func byteCountFreed(byDeleting path: String) -> Int {
    var (own, other) = (stat(), stat())
    guard fstat(descriptor, &own) == 0, stat(path, &other) == 0, own.st_dev == other.st_dev else {
      return 0
    }
    return Int(other.st_blocks) * 512
  }

  /// Whether the bytes at `offset` have this CRC-32; false where the file ends before.
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

  /// Makes what was written durable.
  ///
  /// - Throws: `ModelError` when the disk fails, and when the file has been removed meanwhile.
  package func synchronize() throws { try placement.synchronize() }

  /// Makes the next bytes that are read come from the disk, as far as it can be asked to: after a disk
  /// has failed, memory may still hold what was lost.
  package func forgetCache() { posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED) }

  /// Cuts the file at `byteCount`, makes it durable and gives it its name.
  ///
  /// - Throws: `ModelError` when the disk fails, when something appeared at the output's path, and
  ///   when bytes of a mapped input turned out to be missing.
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
