import CSignals
import Glibc
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
  /// What was made of the file by `once`.
  private let derived = Mutex<[String: Result<any Sendable, any Error>]>([:])

  private enum Source: Sendable {
    case mapping(FileMapping, OpenFile)
    case file(OpenFile)
    case memory(SharedBytes)
  }

  /// Opens the regular file at `path`; its bytes are read when asked for.
  ///
  /// - Throws: `ModelError` when the path cannot be opened or is not a regular file.
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
  package var isInMemory: Bool { if case .memory = source { true } else { false } }

  /// The bytes at `offset`, which is checked against the file's length first.
  ///
  /// - Parameter purpose: what the bytes are for, as it reads in "expected 8 bytes for …".
  /// - Throws: `ModelError` when the file is shorter, has changed since it was opened, or cannot be
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

  /// What `make` returns or throws, made once however many ask for it.
  ///
  /// - Parameter key: names what is made of the file; each has one type.
  package func once<Value: Sendable>(_ key: String, _ make: () throws -> Value) throws -> Value {
    if let known = derived.withLock({ $0[key] }), let value = try known.get() as? Value {
      return value
    }
    // Made outside the lock: two that ask at once find the same.
    let made = Result { try make() }
    derived.withLock { $0[key] = made.map { $0 as any Sendable } }
    return try made.get()
  }
}

extension InputFile {
  /// The SHA-256 of the file's bytes, in hexadecimal, as `sha256sum` prints it.
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
  /// The SHA-256 of the bytes, in hexadecimal, as `sha256sum` prints it.
  package var sha256: String {
    withUnsafeBytes { buffer in
      var hash = SHA256()
      hash.update(buffer)
      return hash.finalize()
    }
  }
}

/// The descriptor of a regular file, with the length and the date that it had when it was opened.
final class OpenFile: Sendable {
  let descriptor: Int32
  let byteCount: Int
  private let modification: (seconds: Int, nanoseconds: Int)

  /// - Throws: `ModelError` when the path cannot be opened or is not a regular file.
  init(path: String) throws {
    // O_NONBLOCK: opening a pipe must report "not a regular file", not wait for a writer.
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

  /// Compares the file's length and date with those at the opening, which costs one system call.
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
      throw ModelError(
        .truncated(expectedBytes: buffer.count, foundBytes: count, purpose: purpose),
        path: path, offset: offset)
    }
  }
}

/// The pages of a file in memory. This is the only place that maps a file.
///
/// Touching a page that the file no longer has, or that its disk cannot give, is a SIGBUS, which
/// ends a process. Looking at the length before each access cannot prevent that: the file may shrink
/// a moment later, in the middle of a checksum. So where `SignalHandlers` are installed, each mapping
/// is registered with them: its missing pages become zeros, which is remembered and makes every
/// later request, and the end of every output file, an error.
// Sendable: the mapping is read-only and lives until the last slice is gone.
final class FileMapping: @unchecked Sendable {
  private let buffer: UnsafeRawBufferPointer
  /// The place in the table that the SIGBUS handler looks through; negative without a handler.
  private let slot: Int32

  /// - Returns: `nil` when the file is empty, or cannot be guarded because very many are open.
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
      // The path of a mapping that lost bytes stays known until the process ends.
      if !condi_bus_guard_has_faulted(slot) {
        Self.guardedPaths.withLock { _ = $0.removeValue(forKey: slot) }
        condi_bus_guard_remove(slot)
      }
    }
    munmap(UnsafeMutableRawPointer(mutating: buffer.baseAddress), buffer.count)
  }

  /// - Throws: `ModelError` when bytes of the mapping were missing when they were touched.
  func bytes(_ range: Range<Int>, path: String) throws -> SharedBytes {
    if slot >= 0, condi_bus_guard_has_faulted(slot) { throw Self.fault(of: path) }
    let slice = UnsafeRawBufferPointer(rebasing: buffer[range])
    guard range.count >= MappedRange.threshold else { return SharedBytes(slice, owner: self) }
    return SharedBytes(slice, owner: MappedRange(slice, of: self))
  }

  /// - Throws: `ModelError` that names the file when bytes of any guarded mapping of this process
  ///   were missing when they were touched.
  static func checkAll() throws {
    guard condi_bus_guard_fault_count() > 0 else { return }
    let path = guardedPaths.withLock { paths in
      paths.sorted { $0.key < $1.key }.first { condi_bus_guard_has_faulted($0.key) }?.value
    }
    throw fault(of: path)
  }

  private static let guardedPaths = Mutex<[Int32: String]>([:])

  /// What is wrong when the system finds bytes missing: with the name of their file, which is known
  /// once they have been touched here.
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
      "bytes of an input file vanished while it was read: another program made it shorter, or its "
        + "disk failed", path: path)
  }
}

/// Bytes of a mapping that somebody uses: their pages leave the process's memory afterwards.
///
/// A model that is larger than memory passes through it so, tensor by tensor. The pages stay in the
/// system's cache for as long as there is room, and whoever touches them again has them back.
// Sendable: the range is read-only, and its mapping lives as long as it does.
private final class MappedRange: @unchecked Sendable {
  private let range: UnsafeRawBufferPointer
  private let mapping: FileMapping

  /// Smaller ranges are not worth a system call.
  static let threshold = 1 << 18

  init(_ range: UnsafeRawBufferPointer, of mapping: FileMapping) {
    self.range = range
    self.mapping = mapping
  }

  deinit {
    guard let start = range.baseAddress else { return }
    // Whole pages inside alone: the first and the last may be in use for what lies beside.
    let pageByteCount = UInt(sysconf(Int32(_SC_PAGESIZE)))
    let first = (UInt(bitPattern: start) + pageByteCount - 1) / pageByteCount * pageByteCount
    let end = (UInt(bitPattern: start) + UInt(range.count)) / pageByteCount * pageByteCount
    guard first < end, let page = UnsafeMutableRawPointer(bitPattern: first) else { return }
    madvise(page, Int(end - first), MADV_DONTNEED)
  }
}

/// What a path leads to.
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

  /// Why neither reading nor writing it makes sense.
  var refusal: String { "not a regular file but \(rawValue)" }
}
