import CSignals
import Glibc
import Synchronization

/// A regular file opened for reading, either mapped or read on demand, or bytes already in memory.
///
/// Bytes are returned as `SharedBytes`, which keep their memory alive. Each request checks that the
/// file has not changed since it was opened: if another program modifies it meanwhile, the request
/// fails instead of returning a mixture of two contents.
///
/// ```swift
/// let file = try InputFile(path: "model.gguf", access: .read)
/// let magic = try file.bytes(at: 0, count: 4, purpose: "the magic number")
/// print(magic.array == Array("GGUF".utf8), file.byteCount)
/// ```
public final class InputFile: Sendable {
  /// How the file's bytes are brought into memory.
  public enum Access: Sendable {
    /// Mapped pages, shared with the page cache. The process needs `SignalHandlers` to survive if
    /// the file shrinks or its disk fails while in use.
    case mapped
    /// Read with `pread` on demand, for network disks and files that may change.
    case read
  }

  /// The path as the user gave it.
  public let path: String
  /// The file's length when it was opened.
  public let byteCount: Int
  /// How the file's bytes are brought into memory; `.mapped` for bytes already in memory.
  package let access: Access
  private let source: Source
  /// Values derived from the file by `once`.
  private let derived = Mutex<[String: Result<any Sendable, any Error>]>([:])

  private enum Source: Sendable {
    case mapping(FileMapping, OpenFile)
    case file(OpenFile)
    case memory(SharedBytes)
  }

  /// Opens the regular file at `path`; its bytes are read on demand.
  ///
  /// - Throws: `ModelError` if the path cannot be opened or is not a regular file.
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

  /// Creates an input that presents bytes in memory as the file `path`.
  public init(_ bytes: SharedBytes, path: String) {
    self.path = path
    access = .mapped
    byteCount = bytes.count
    source = .memory(bytes)
  }

  /// Whether the bytes are in memory, in which case the path is only a name.
  package var isInMemory: Bool { if case .memory = source { true } else { false } }

  /// Returns `count` bytes at `offset`, after checking the range against the file's length.
  ///
  /// - Parameter purpose: What the bytes are for, completing "expected 8 bytes for …".
  /// - Throws: `ModelError` if the file is too short, has changed since it was opened, or cannot be
  ///   read.
  public func bytes(at offset: Int, count: Int, purpose: String) throws -> SharedBytes {
    guard offset >= 0, count >= 0, offset <= byteCount, count <= byteCount - offset else {
      let found = offset < 0 ? 0 : max(0, byteCount - offset)
      throw ModelError(
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

  /// Returns the result of `make`, or rethrows its error, and caches either under `key`.
  ///
  /// - Parameter key: The name of the derived value; each key has one type.
  package func once<Value: Sendable>(_ key: String, _ make: () throws -> Value) throws -> Value {
    if let known = derived.withLock({ $0[key] }), let value = try known.get() as? Value {
      return value
    }
    // Made outside the lock: two concurrent callers compute the same result.
    let made = Result { try make() }
    derived.withLock { $0[key] = made.map { $0 as any Sendable } }
    return try made.get()
  }
}

extension InputFile {
  /// Returns the SHA-256 of the file's bytes in hexadecimal, as printed by `sha256sum`.
  package func sha256() throws -> String {
    var hash = SHA256()
    let pieceByteCount = 1 << 22
    for start in stride(from: 0, to: byteCount, by: pieceByteCount) {
      let piece = try bytes(
        at: start, count: min(pieceByteCount, byteCount - start), purpose: "the digest")
      piece.withUnsafeBytes { hash.update($0) }
    }
    return hash.finalize()
  }
}

extension SharedBytes {
  /// The SHA-256 of the bytes in hexadecimal, as printed by `sha256sum`.
  package var sha256: String {
    withUnsafeBytes { buffer in
      var hash = SHA256()
      hash.update(buffer)
      return hash.finalize()
    }
  }
}

/// The descriptor of a regular file, with its length and modification time at the time of opening.
final class OpenFile: Sendable {
  let descriptor: Int32
  let byteCount: Int
  private let modification: (seconds: Int, nanoseconds: Int)

  /// Opens the regular file at `path`.
  ///
  /// - Throws: `ModelError` if the path cannot be opened or is not a regular file.
  init(path: String) throws {
    // O_NONBLOCK: opening a pipe must fail with "not a regular file" instead of waiting for a
    // writer.
    descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else {
      throw ModelError(.system(operation: "open", code: errno), path: path)
    }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      let code = errno
      close(descriptor)
      throw ModelError(.system(operation: "read the file's status", code: code), path: path)
    }
    guard FileKind(status) == .regular else {
      close(descriptor)
      throw ModelError.unsupported(FileKind(status).refusal, path: path)
    }
    byteCount = Int(status.st_size)
    modification = (status.st_mtim.tv_sec, status.st_mtim.tv_nsec)
  }

  deinit { close(descriptor) }

  /// Checks, with one system call, that the file's length and date are unchanged since it was
  /// opened.
  func checkUnchanged(path: String) throws {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      throw ModelError(.system(operation: "read the file's status", code: errno), path: path)
    }
    guard Int(status.st_size) == byteCount else {
      throw ModelError.mismatch(
        expected: "a file of \(counted(byteCount, "byte")), as when it was opened",
        found: "\(status.st_size): another program is writing to it", path: path)
    }
    guard (status.st_mtim.tv_sec, status.st_mtim.tv_nsec) == modification else {
      throw ModelError.malformed(
        "another program changed the file while it was being read", path: path)
    }
  }

  /// Fills `buffer` with the bytes at `offset`.
  func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: Int, path: String, purpose: String
  ) throws {
    let count = try PositionalFile(path: path, descriptor: descriptor)
      .read(into: buffer, at: offset)
    guard count == buffer.count else {
      throw ModelError(
        .truncated(expectedBytes: buffer.count, foundBytes: count, purpose: purpose),
        path: path, offset: offset)
    }
  }
}

/// A file mapped into memory. Files are mapped nowhere else.
///
/// Touching a page that the file no longer has, or that its disk cannot deliver, raises SIGBUS,
/// which ends the process. Checking the length before each access cannot prevent that, because the
/// file may shrink a moment later, in the middle of a checksum. If `SignalHandlers` are installed,
/// each mapping is therefore registered with them: missing pages become zeros, and the fault is
/// recorded, so that every later request and the completion of every output file fails.
// Sendable: the mapping is read-only and lives until its last slice is released.
final class FileMapping: @unchecked Sendable {
  private let buffer: UnsafeRawBufferPointer
  /// The slot in the SIGBUS handler's table; negative without a handler.
  private let slot: Int32

  /// Maps `file`.
  ///
  /// - Returns: `nil` if the file is empty, or if it cannot be guarded because too many files are
  ///   open.
  init?(_ file: OpenFile, path: String) throws {
    guard file.byteCount > 0 else { return nil }
    let address = mmap(nil, file.byteCount, PROT_READ, MAP_PRIVATE, file.descriptor, 0)
    guard let address, address != MAP_FAILED else {
      throw ModelError(.system(operation: "map", code: errno), path: path)
    }
    buffer = UnsafeRawBufferPointer(start: address, count: file.byteCount)
    guard condi_bus_guard_is_installed() else {
      slot = -1
      return
    }
    slot = condi_bus_guard_add(address, file.byteCount)
    guard slot >= 0 else { return nil }  // the deinitializer unmaps
    Self.guardedPaths.withLock { $0[slot] = path }
  }

  deinit {
    if slot >= 0 {
      // The path of a mapping that lost bytes is kept until the process ends.
      if !condi_bus_guard_has_faulted(slot) {
        Self.guardedPaths.withLock { _ = $0.removeValue(forKey: slot) }
        condi_bus_guard_remove(slot)
      }
    }
    munmap(UnsafeMutableRawPointer(mutating: buffer.baseAddress), buffer.count)
  }

  /// Returns the bytes of `range`.
  ///
  /// - Throws: `ModelError` if bytes of the mapping were missing when they were touched.
  func bytes(_ range: Range<Int>, path: String) throws -> SharedBytes {
    if slot >= 0, condi_bus_guard_has_faulted(slot) { throw Self.fault(of: path) }
    let slice = UnsafeRawBufferPointer(rebasing: buffer[range])
    guard range.count >= MappedRange.threshold else { return SharedBytes(slice, owner: self) }
    return SharedBytes(slice, owner: MappedRange(slice, of: self))
  }

  /// Checks every guarded mapping of the process.
  ///
  /// - Throws: `ModelError` naming the file if bytes of a mapping were missing when they were
  ///   touched.
  static func checkAll() throws {
    guard condi_bus_guard_fault_count() > 0 else { return }
    let path = guardedPaths.withLock { paths in
      paths.sorted { $0.key < $1.key }.first { condi_bus_guard_has_faulted($0.key) }?.value
    }
    throw fault(of: path)
  }

  private static let guardedPaths = Mutex<[Int32: String]>([:])

  /// Returns the error for bytes that the kernel found missing, naming their file if known.
  ///
  /// The bytes are touched here first, because the handler identifies the file only then.
  static func fault(touching buffer: UnsafeRawBufferPointer) -> any Error {
    guard condi_bus_guard_is_installed() else { return fault(of: nil) }
    var sum: UInt8 = 0
    for offset in stride(from: 0, to: buffer.count, by: 4096) { sum &+= buffer[offset] }
    if let last = buffer.last { sum &+= last }
    return withExtendedLifetime(sum) {
      do {
        try checkAll()
        return fault(of: nil)
      } catch { return error }
    }
  }

  private static func fault(of path: String?) -> ModelError {
    .malformed(
      "bytes of an input file vanished while it was being read: another program truncated it, or its "
        + "disk failed", path: path)
  }
}

/// A range of a mapping whose pages leave the process's memory when it is released.
///
/// A model larger than memory can thus be processed tensor by tensor. The pages stay in the
/// system's cache while there is room, and touching them again brings them back.
// Sendable: the range is read-only and keeps its mapping alive.
private final class MappedRange: @unchecked Sendable {
  private let range: UnsafeRawBufferPointer
  private let mapping: FileMapping

  /// The smallest range worth a system call, in bytes.
  static let threshold = 1 << 18

  init(_ range: UnsafeRawBufferPointer, of mapping: FileMapping) {
    self.range = range
    self.mapping = mapping
  }

  deinit {
    guard let start = range.baseAddress else { return }
    // Only whole pages inside the range: the first and last may hold neighbouring data in use.
    let pageByteCount = UInt(sysconf(Int32(_SC_PAGESIZE)))
    let first = (UInt(bitPattern: start) + pageByteCount - 1) / pageByteCount * pageByteCount
    let end = (UInt(bitPattern: start) + UInt(range.count)) / pageByteCount * pageByteCount
    guard first < end, let page = UnsafeMutableRawPointer(bitPattern: first) else { return }
    madvise(page, Int(end - first), MADV_DONTNEED)
  }
}

/// The kind of file that a path leads to.
enum FileKind: String {
  case regular = "a regular file"
  case folder = "a directory"
  case device = "a device"
  case pipe = "a pipe"
  case socket = "a socket"
  case link = "a symbolic link"

  init(_ status: stat) {
    self =
      switch status.st_mode & S_IFMT {
      case S_IFREG: .regular
      case S_IFDIR: .folder
      case S_IFIFO: .pipe
      case S_IFSOCK: .socket
      case S_IFLNK: .link
      default: .device
      }
  }

  /// The error message for a kind of file that can be neither read nor written.
  var refusal: String { "not a regular file but \(rawValue)" }
}
