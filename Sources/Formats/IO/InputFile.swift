import Foundation
import Synchronization

/// A regular file opened for reading, mapped or read on demand; or bytes that are in memory already.
///
/// Bytes are handed out as `SharedBytes` that keep the memory they lie in alive. Each request checks
/// that the file is still the one that was opened: a file that another program changes meanwhile is
/// an error, not a mixture of two contents.
public final class InputFile: Sendable {
  /// How bytes reach memory.
  public enum Access: Sendable {
    /// Mapped pages, shared with the page cache. Where the file can shrink or its disk fail while in
    /// use, the process needs `SignalHandlers` to survive that.
    case mapped
    /// Read with `pread` when asked for: for network disks and for files that may change.
    case read
  }

  /// The path as the user gave it.
  public let path: String
  /// The file's length when it was opened.
  public let byteCount: Int
  /// How bytes reach memory; for files in memory, as if mapped.
  package let access: Access
  private let source: Source
  /// The zip directory, or why there is none, once somebody asked.
  private let parsedDirectory = Mutex<Result<ZipDirectory, any Error>?>(nil)

  private enum Source: Sendable {
    case mapping(FileMapping, OpenFile)
    case file(OpenFile)
    case memory(SharedBytes)
  }

  /// Opens the regular file at `path`; its bytes are read when asked for.
  ///
  /// - Throws: `FormatError` when the path cannot be opened or is not a regular file.
  public init(path: String, access: Access = .mapped) throws {
    self.path = path
    self.access = access
    let file = try OpenFile(path: path)
    byteCount = file.byteCount
    source =
      if access == .mapped, let mapping = try FileMapping(file, path: path) {
        .mapping(mapping, file)
      } else {
        .file(file)
      }
  }

  /// Bytes in memory, read as if they were the file `path`.
  public init(_ bytes: SharedBytes, path: String) {
    self.path = path
    access = .mapped
    byteCount = bytes.count
    source = .memory(bytes)
  }

  /// Whether the bytes are in memory, so that the path is only a name.
  var isInMemory: Bool { if case .memory = source { true } else { false } }

  /// The bytes at `offset`, which is checked against the file's length first.
  ///
  /// - Parameter purpose: what the bytes are for, as it reads in "expected 8 bytes for …".
  /// - Throws: `FormatError` when the file is shorter, has changed since it was opened, or cannot be
  ///   read.
  public func bytes(at offset: Int, count: Int, purpose: String) throws -> SharedBytes {
    guard offset >= 0, count >= 0, offset <= byteCount, count <= byteCount - offset else {
      let found = offset < 0 ? 0 : max(0, byteCount - offset)
      throw FormatError(
        .truncated(expectedBytes: count, foundBytes: found, purpose: purpose),
        path: path, offset: offset)
    }
    guard count > 0 else { return SharedBytes() }
    switch source {
    case .mapping(let mapping, let file):
      try file.checkUnchanged(path: path)
      return try mapping.bytes(offset..<offset + count, path: path)
    case .file(let file):
      try file.checkUnchanged(path: path)
      return try SharedBytes(count: count) { buffer in
        try file.read(into: buffer, at: offset, path: path, purpose: purpose)
      }
    case .memory(let bytes):
      return bytes.slice(offset..<offset + count)
    }
  }

  /// The file's zip directory, parsed once however many formats ask for it.
  ///
  /// - Throws: `FormatError` as `ZipDirectory(parsing:)`, each time the same.
  func zipDirectory() throws -> ZipDirectory {
    if let parsed = parsedDirectory.withLock({ $0 }) { return try parsed.get() }
    // Parsed outside the lock: two that ask at once find the same.
    let parsed = Result { try ZipDirectory(parsing: self) }
    parsedDirectory.withLock { $0 = parsed }
    return try parsed.get()
  }
}
