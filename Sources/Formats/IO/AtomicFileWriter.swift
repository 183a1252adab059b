import Foundation

/// A file that appears at its path whole or not at all.
///
/// Bytes go to a temporary file in the same folder; `finish()` makes them durable and renames the
/// file into place. A writer that is dropped before that removes its temporary file, so nothing is
/// left behind and an existing file stays as it was.
public struct AtomicFileWriter: ~Copyable {
  /// The path as the user gave it.
  public let path: String
  /// Where the bytes are until `finish()`; for libraries that insist on writing by path.
  public let temporaryPath: String
  private let replacesExisting: Bool
  private var descriptor: Int32
  private var position: Int
  private var isFinished: Bool

  /// - Parameter replacesExisting: when false, an existing file at `path` is an error, both now
  ///   and at `finish()`.
  public init(path: String, replacesExisting: Bool = false) throws {
    if !replacesExisting, access(path, F_OK) == 0 {
      throw FormatError(.outputExists, path: path)
    }
    let folder = (path as NSString).deletingLastPathComponent
    let name = (path as NSString).lastPathComponent
    guard !name.isEmpty, !path.hasSuffix("/") else {
      throw FormatError(.system(operation: "write", code: EISDIR), path: path)
    }
    let suffix = String(UInt64.random(in: 0...UInt64.max), radix: 36)
    let temporaryName = ".\(name.prefix(100)).\(getpid())-\(suffix).condi-tmp"
    let temporaryPath = folder.isEmpty ? temporaryName : "\(folder)/\(temporaryName)"
    let descriptor = open(temporaryPath, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else {
      throw FormatError(.system(operation: "create the file", code: errno), path: path)
    }
    self.path = path
    self.temporaryPath = temporaryPath
    self.replacesExisting = replacesExisting
    self.descriptor = descriptor
    self.position = 0
    self.isFinished = false
  }

  deinit {
    if descriptor >= 0 { close(descriptor) }
    if !isFinished { unlink(temporaryPath) }
  }

  /// Bytes appended so far.
  public var byteCount: Int { position }

  /// Sets the file's length, reserving the space, before tensors are put in place.
  ///
  /// - Throws: `FormatError` when the disk has not enough space.
  public func preallocate(byteCount: Int) throws {
    guard byteCount > 0 else { return }
    let code = posix_fallocate(descriptor, 0, off_t(byteCount))
    guard code == 0 || code == EOPNOTSUPP || code == EINVAL else {
      throw FormatError(
        .system(operation: "reserve \(byteCount) bytes", code: code), path: path)
    }
  }

  /// For placing bytes at offsets, from several threads where it helps; valid until `finish()`.
  public var placement: FilePlacement { FilePlacement(path: path, descriptor: descriptor) }

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

  /// Reopens the temporary file after a library replaced it by path.
  mutating func adoptReplacedTemporaryFile() throws {
    close(descriptor)
    descriptor = open(temporaryPath, O_RDWR | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw FormatError(.system(operation: "reopen the file", code: errno), path: path)
    }
  }

  /// Makes the bytes durable and puts the file at its path.
  public consuming func finish() throws {
    guard fsync(descriptor) == 0 else {
      throw FormatError(.system(operation: "write", code: errno), path: path)
    }
    // `link` refuses an existing path, so without --force nothing that appeared since the first
    // check is lost; `rename` replaces.
    var result = replacesExisting ? rename(temporaryPath, path) : link(temporaryPath, path)
    if result == 0, !replacesExisting {
      unlink(temporaryPath)
    } else if result != 0, errno == EPERM || errno == EOPNOTSUPP, !replacesExisting {
      result = rename(temporaryPath, path)  // a file system without hard links
    }
    guard result == 0 else {
      let problem: FormatError.Problem =
        errno == EEXIST ? .outputExists : .system(operation: "replace the file", code: errno)
      throw FormatError(problem, path: path)
    }
    isFinished = true
    Self.synchronizeFolder(of: path)
  }

  /// Makes the rename itself durable; a folder that cannot be opened is no reason to fail.
  private static func synchronizeFolder(of path: String) {
    let folder = (path as NSString).deletingLastPathComponent
    let number = open(folder.isEmpty ? "." : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard number >= 0 else { return }
    fsync(number)
    close(number)
  }
}

/// Puts bytes at offsets of a file that is being written. Threads may place disjoint ranges at the
/// same time.
public struct FilePlacement: Sendable {
  fileprivate let path: String
  fileprivate let descriptor: Int32

  public func write(_ bytes: SharedBytes, at offset: Int) throws {
    try bytes.withUnsafeBytes { try write($0, at: offset) }
  }

  fileprivate func write(_ buffer: UnsafeRawBufferPointer, at offset: Int) throws {
    var done = 0
    while done < buffer.count {
      let rest = UnsafeRawBufferPointer(rebasing: buffer[done...])
      let count = pwrite(descriptor, rest.baseAddress, rest.count, off_t(offset + done))
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else {
        throw FormatError(
          .system(operation: "write", code: count == 0 ? ENOSPC : errno), path: path,
          offset: offset + done)
      }
      done += count
    }
  }
}
