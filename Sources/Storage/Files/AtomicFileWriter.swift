import CSignals
import FoundationEssentials
import Glibc

/// A file that appears at its path whole or not at all.
///
/// Bytes go to a temporary file in the same folder; `finish()` makes them durable and renames the
/// file into place. A writer that is dropped before that removes its temporary file, so nothing is
/// left behind and an existing file stays as it was. If a process is killed, the next writer in the
/// same folder removes the temporary file.
///
/// ```swift
/// var writer = try AtomicFileWriter(path: "features.bin", replacesExisting: true)
/// try writer.append([1, 0, 0, 0])
/// try writer.append(SharedBytes(elementsOf: [Float(0.5), 0.25]))
/// print(writer.byteCount)  // 12
/// try writer.finish()
/// ```
public struct AtomicFileWriter: ~Copyable {
  /// The path as the user gave it.
  public let path: String
  private let destination: OutputDestination
  private let temporary: TemporaryFile
  private var position: Int
  private var isFinished: Bool

  /// Creates a writer, whose file has a temporary name in the folder of `path` until it is
  /// finished.
  ///
  /// - Parameter replacesExisting: when false, an existing file at `path` is an error, both now
  ///   and at `finish()`.
  /// - Throws: `ModelError` when something is in the way or the folder cannot be written.
  public init(path: String, replacesExisting: Bool = false) throws {
    let destination = try OutputDestination(path: path, replacesExisting: replacesExisting)
    let temporary = try TemporaryFile(for: destination, path: path)
    self.path = path
    self.destination = destination
    self.temporary = temporary
    self.position = 0
    self.isFinished = false
  }

  deinit {
    if !isFinished { temporary.remove() }
  }

  /// Writes a whole file.
  ///
  /// - Throws: `ModelError` when something is in the way or the disk fails.
  package static func write(
    _ bytes: SharedBytes, to path: String, replacesExisting: Bool
  ) throws {
    var writer = try AtomicFileWriter(path: path, replacesExisting: replacesExisting)
    try writer.append(bytes)
    try writer.finish()
  }

  /// The number of bytes appended so far, which is the offset of the next one.
  public var byteCount: Int { position }

  /// Sets the file's length and reserves the space; every writer calls this before its first
  /// tensor.
  ///
  /// - Parameter byteCount: the file's length; a writer that may need less calls `advance(to:)`
  ///   last.
  /// - Throws: `ModelError` when the disk lacks the space, before anything is written.
  package func preallocate(byteCount: Int) throws {
    try placement.reserve(byteCount: byteCount)
  }

  /// Writes bytes at offsets, from several threads if need be; valid until `finish()`.
  package var placement: PositionalFile {
    PositionalFile(path: path, descriptor: temporary.descriptor)
  }

  /// Appends `bytes`.
  public mutating func append(_ bytes: SharedBytes) throws {
    try placement.write(bytes, at: position)
    position += bytes.count
  }

  /// Appends `bytes`.
  public mutating func append(_ bytes: [UInt8]) throws {
    try bytes.withUnsafeBytes { try placement.write($0, at: position) }
    position += bytes.count
  }

  /// Counts the bytes up to `end`, which were written at offsets, as appended, and releases the
  /// space reserved beyond.
  package mutating func advance(to end: Int) throws {
    try placement.truncate(toByteCount: end)
    position = end
  }

  /// Makes the bytes durable and puts the file at its path.
  ///
  /// - Throws: `ModelError` when the disk fails, when something appeared at the path meanwhile, and
  ///   when bytes of a mapped input turned out to be missing.
  public consuming func finish() throws {
    try SignalHandlers.checkInputs()
    guard fsync(temporary.descriptor) == 0 else {
      throw ModelError(.system(operation: "write", code: errno), path: path)
    }
    try destination.place(temporary.path, calledBy: path)
    temporary.remove()
    isFinished = true
    destination.synchronizeFolder()
  }
}

/// The file beside an output, `.NAME.PID-RANDOM.condi-tmp`, that holds its bytes until it is whole.
///
/// It is locked while its process works on it. A lock ends with its process, so an unlocked file
/// with such a name was left by a killed process. Process numbers cannot tell: they are reused, and
/// they mean nothing in another container or on another machine.
final class TemporaryFile: Sendable {
  let path: String
  let descriptor: Int32
  /// The index in the table of files that signals remove; negative when the table is full.
  private let slot: Int32

  private static let suffix = ".condi-tmp"

  /// Removes what earlier processes left in the folder, then creates and locks a file.
  init(for destination: OutputDestination, path outputPath: String) throws {
    Self.removeLeftovers(in: destination.folder)
    var attempts = 0
    while true {
      attempts += 1
      let path = "\(destination.folder)/\(Self.name(for: destination.name))"
      let descriptor = open(
        path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, destination.permissions ?? 0o666)
      guard descriptor >= 0 else {
        throw ModelError(.system(operation: "create the file", code: errno), path: outputPath)
      }
      // Waits for a process that took the file for a leftover before it was locked, and removes it.
      // A file system without locks keeps leftovers, which is better than removing files in use.
      _ = flock(descriptor, LOCK_EX)
      var status = stat()
      if fstat(descriptor, &status) == 0, status.st_nlink == 0, attempts < 100 {
        close(descriptor)
        continue
      }
      // `open` applied the process's mask, which is meant for new files only.
      if let permissions = destination.permissions { fchmod(descriptor, permissions) }
      self.path = path
      self.descriptor = descriptor
      slot = condi_cleanup_add(path)
      return
    }
  }

  deinit {
    condi_cleanup_remove(slot)
    close(descriptor)
  }

  /// Removes the name; the bytes stay if they have another one.
  func remove() {
    unlink(path)
  }

  /// Returns a name that no other process chooses and that is not too long for a file system.
  private static func name(for output: String) -> String {
    var prefix = output
    while prefix.utf8.count > 100 { prefix.removeLast() }
    let random = String(UInt64.random(in: 0...UInt64.max), radix: 36)
    return ".\(prefix).\(getpid())-\(random)\(suffix)"
  }

  /// Removes the files in `folder` whose processes are gone; keeps those it cannot judge.
  private static func removeLeftovers(in folder: String) {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    for name in names where name.hasPrefix(".") && name.hasSuffix(suffix) {
      let path = "\(folder)/\(name)"
      let descriptor = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
      guard descriptor >= 0 else { continue }
      defer { close(descriptor) }
      var status = stat()
      guard fstat(descriptor, &status) == 0, FileKind(status) == .regular,
        flock(descriptor, LOCK_EX | LOCK_NB) == 0
      else { continue }
      unlink(path)
    }
  }
}
