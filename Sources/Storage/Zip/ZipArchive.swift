import CLibzip
import Glibc
import Synchronization

/// A zip file opened for reading.
///
/// Stored entries are slices of the mapped file; deflated entries are inflated by libzip. Lengths
/// and checksums come from the central directory, which libzip and this library must read alike.
package final class ZipArchive: Sendable {
  /// How an entry's bytes are encoded in the file.
  package enum Method: Hashable, Sendable {
    case stored
    case deflated
    /// Another method, identified by its number in the directory.
    case other(Int)
  }

  package struct Entry: Sendable {
    package let name: String
    /// The number of bytes in the file.
    package let compressedByteCount: Int
    /// The number of bytes of the content.
    package let byteCount: Int
    /// CRC-32 of the content.
    package let crc32: UInt32
    package let method: Method
    /// The reason the content cannot be read: encryption, or a method other than deflate.
    package let obstacle: String?
    /// The offset in the file at which the entry's bytes begin.
    package let dataOffset: Int
    /// Position in the central directory.
    package let index: Int
  }

  package let file: InputFile
  /// The entries in the order of the central directory.
  package let entries: [Entry]
  private let indices: [String: Int]
  private let handle: Mutex<ZipHandle>
  /// Whether each stored entry's checksum has been verified, by entry index.
  private let isVerified: Mutex<[Bool]>

  /// Opens the zip archive in `file`.
  ///
  /// - Throws: `ModelError` if anything in the directory is damaged or contradictory.
  package init(_ file: InputFile) throws {
    let entries = try file.zipDirectory().entries
    let handle = try ZipHandle(opening: file)
    try handle.checkAgreement(with: entries, path: file.path)
    self.file = file
    self.entries = entries
    self.handle = Mutex(handle)
    indices = Dictionary(uniqueKeysWithValues: entries.map { ($0.name, $0.index) })
    isVerified = Mutex([Bool](repeating: false, count: entries.count))
  }

  /// Returns the entry with exactly this name.
  package func entry(named name: String) -> Entry? {
    indices[name].map { entries[$0] }
  }

  /// Returns the content of `entry`.
  ///
  /// The checksum of a stored entry is verified on the first request. Inflated bytes are verified
  /// on every request and are not kept.
  ///
  /// - Throws: `ModelError` if the content is damaged or cannot be read.
  package func bytes(of entry: Entry) throws -> SharedBytes {
    try checkReadable(entry)
    return try locatingErrors(path: file.path, entry: entry.name) {
      switch entry.method {
      case .stored: try storedBytes(of: entry)
      case .deflated, .other: try inflatedBytes(of: entry)
      }
    }
  }

  /// Checks that the content of `entry` can be read.
  ///
  /// - Throws: An `unsupported` `ModelError` if the entry is encrypted, or compressed by a method
  ///   other than deflate.
  package func checkReadable(_ entry: Entry) throws {
    guard let obstacle = entry.obstacle else { return }
    throw ModelError(
      .unsupported(obstacle), path: file.path, entry: entry.name, offset: entry.dataOffset)
  }

  private func storedBytes(of entry: Entry) throws -> SharedBytes {
    let bytes = try file.bytes(
      at: entry.dataOffset, count: entry.byteCount, purpose: "a zip entry")
    if !isVerified.withLock({ $0[entry.index] }) {
      try verify(bytes, of: entry)
      isVerified.withLock { $0[entry.index] = true }
    }
    return bytes
  }

  private func inflatedBytes(of entry: Entry) throws -> SharedBytes {
    let bytes = try handle.withLock { try $0.inflate(entry) }
    try verify(bytes, of: entry)
    return bytes
  }

  private func verify(_ bytes: SharedBytes, of entry: Entry) throws {
    let found = CRC32.checksum(bytes)
    guard CRC32.isMatch(found, entry.crc32) else {
      throw ModelError(
        .checksumMismatch(expected: entry.crc32, found: found), offset: entry.dataOffset)
    }
  }
}

/// libzip's handle of a zip file opened for reading. Only one thread may use it at a time.
struct ZipHandle: ~Copyable {
  private let archive: OpaquePointer
  private let source: ZipInputSource

  /// Opens `file`, with libzip's own consistency checks enabled.
  init(opening file: InputFile) throws {
    // Reads go through `InputFile` rather than a descriptor: duplicates of a descriptor share one
    // file position, so two archives over one file would disturb each other.
    source = ZipInputSource(file)
    var error = zip_error_t()
    zip_error_init(&error)
    defer { zip_error_fini(&error) }
    let function = source.handedToLibzip { zip_source_function_create($0, $1, &error) }
    guard let function else {
      throw ModelError.malformed(ZipError.message(&error), path: file.path)
    }
    let flags = ZIP_RDONLY | ZIP_CHECKCONS
    guard let archive = zip_open_from_source(function, flags, &error) else {
      zip_source_free(function)
      throw source.failure
        ?? ModelError.malformed(
          "not a valid zip archive: \(ZipError.message(&error))", path: file.path)
    }
    self.archive = archive
  }

  deinit { zip_discard(archive) }

  /// Compares each entry as libzip read it with `entries`.
  ///
  /// - Throws: `ModelError` at the first difference, because such a file shows different content to
  ///   different programs.
  func checkAgreement(with entries: [ZipArchive.Entry], path: String) throws {
    let count = zip_get_num_entries(archive, 0)
    guard count == entries.count else {
      throw ModelError.mismatch(
        expected: "\(entries.count) zip entries", found: "\(count)", path: path)
    }
    for entry in entries {
      var status = zip_stat_t()
      let flags = zip_flags_t(ZIP_FL_ENC_RAW)
      let needed = zip_uint64_t(
        ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_CRC | ZIP_STAT_COMP_METHOD)
      guard zip_stat_index(archive, zip_uint64_t(entry.index), flags, &status) == 0,
        status.valid & needed == needed, let name = status.name,
        String(cString: name).utf8.elementsEqual(entry.name.utf8),
        status.size == zip_uint64_t(entry.byteCount),
        status.comp_size == zip_uint64_t(entry.compressedByteCount),
        status.crc == entry.crc32,
        status.comp_method == entry.method.number
      else {
        throw ModelError.malformed(
          "the zip directory is ambiguous", path: path, entry: entry.name)
      }
    }
  }

  /// Returns the content of a deflated entry, which must have exactly the declared length.
  func inflate(_ entry: ZipArchive.Entry) throws -> SharedBytes {
    // `ZipCentralHeader` has already checked the length against deflate's maximum ratio.
    try SharedBytes(count: entry.byteCount) { try inflate(entry, into: $0) }
  }

  /// The largest number of bytes requested from libzip in one call.
  private static let pieceByteCount = 1 << 30

  private func inflate(
    _ entry: ZipArchive.Entry, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    guard let file = zip_fopen_index(archive, zip_uint64_t(entry.index), 0) else {
      throw source.takeFailure() ?? failure(at: entry)
    }
    defer { zip_fclose(file) }
    var done = 0
    while done < buffer.count, let start = buffer.baseAddress {
      // libzip truncates returned lengths of 4 GiB and more to 32 bits.
      let end = min(buffer.count, done + Self.pieceByteCount)
      let count = zip_fread(file, start + done, zip_uint64_t(end - done))
      guard count >= 0 else { throw source.takeFailure() ?? failure(of: file, at: entry) }
      guard count > 0 else {
        throw ModelError(
          .truncated(
            expectedBytes: buffer.count, foundBytes: done, purpose: "a deflated zip entry"),
          offset: entry.dataOffset)
      }
      done += Int(count)
    }
    // libzip compares length and checksum when it reaches the end of the entry.
    var extra: UInt8 = 0
    let excess = zip_fread(file, &extra, 1)
    guard excess >= 0 else { throw source.takeFailure() ?? failure(of: file, at: entry) }
    guard excess == 0 else {
      throw ModelError.mismatch(
        expected: "\(counted(entry.byteCount, "byte")) in a deflated zip entry", found: "more",
        offset: entry.dataOffset)
    }
  }

  private func failure(at entry: ZipArchive.Entry) -> ModelError {
    ModelError.malformed(
      "the zip entry cannot be read: \(ZipError.message(zip_get_error(archive)))",
      offset: entry.dataOffset)
  }

  private func failure(of file: OpaquePointer, at entry: ZipArchive.Entry) -> ModelError {
    ModelError.malformed(
      "the zip entry cannot be read: \(ZipError.message(zip_file_get_error(file)))",
      offset: entry.dataOffset)
  }
}

extension ZipArchive.Method {
  /// The method's number in the directory.
  fileprivate var number: UInt16 {
    switch self {
    case .stored: 0
    case .deflated: 8
    case .other(let number): UInt16(number)
    }
  }
}

/// libzip's error messages.
enum ZipError {
  static func message(_ error: UnsafeMutablePointer<zip_error_t>?) -> String {
    error.flatMap(zip_error_strerror).map { String(cString: $0) } ?? "unknown zip error"
  }
}

/// Serves an `InputFile` to libzip as a seekable source.
///
/// See `zip_source_function(3)` for the commands and what they return. Used under the lock of the
/// archive, or by `ZipHandle`'s initializer before anyone else sees it.
private final class ZipInputSource {
  private let file: InputFile
  private var position: Int = 0
  /// The operating system error that made a call fail; libzip itself keeps only a number.
  private(set) var failure: ModelError?

  init(_ file: InputFile) { self.file = file }

  func takeFailure() -> ModelError? {
    defer { failure = nil }
    return failure
  }

  /// Makes libzip's own source, which keeps this one until `ZIP_SOURCE_FREE`.
  ///
  /// - Parameter make: calls the function of libzip that takes a callback and its state.
  /// - Returns: what `make` returns; `nil` means that it failed.
  func handedToLibzip(
    _ make: (zip_source_callback, UnsafeMutableRawPointer) -> OpaquePointer?
  ) -> OpaquePointer? {
    let state = Unmanaged.passRetained(self)
    let source = make(Self.callback, state.toOpaque())
    if source == nil { state.release() }
    return source
  }

  private static let callback: zip_source_callback = { state, data, count, command in
    guard let state else { return -1 }
    let reference = Unmanaged<ZipInputSource>.fromOpaque(state)
    if command == ZIP_SOURCE_FREE {
      reference.release()
      return 0
    }
    return reference.takeUnretainedValue().handle(command, data, count)
  }

  private func handle(
    _ command: zip_source_cmd_t, _ data: UnsafeMutableRawPointer?, _ count: zip_uint64_t
  ) -> zip_int64_t {
    switch command {
    case ZIP_SOURCE_OPEN:
      position = 0
      return 0
    case ZIP_SOURCE_CLOSE: return 0
    case ZIP_SOURCE_TELL: return zip_int64_t(position)
    case ZIP_SOURCE_READ: return read(into: data, count: count)
    case ZIP_SOURCE_SEEK: return seek(data, count)
    case ZIP_SOURCE_STAT: return stat(data, count)
    case ZIP_SOURCE_ERROR: return error(data, count)
    case ZIP_SOURCE_SUPPORTS:
      // A set of commands; libzip's own helper for it is variadic.
      return [
        ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR,
        ZIP_SOURCE_FREE, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL, ZIP_SOURCE_SUPPORTS,
      ].reduce(0) { $0 | 1 << zip_int64_t($1.rawValue) }
    default: return -1
    }
  }

  private func read(into data: UnsafeMutableRawPointer?, count: zip_uint64_t) -> zip_int64_t {
    let wanted = min(Int(clamping: count), file.byteCount - position)
    guard wanted > 0, let data else { return 0 }
    do {
      let bytes = try file.bytes(at: position, count: wanted, purpose: "the zip archive")
      bytes.withUnsafeBytes { data.copyMemory(from: $0.baseAddress!, byteCount: wanted) }
    } catch {
      failure = error as? ModelError
      return -1
    }
    position += wanted
    return zip_int64_t(wanted)
  }

  private func seek(_ data: UnsafeMutableRawPointer?, _ count: zip_uint64_t) -> zip_int64_t {
    var error = zip_error_t()
    zip_error_init(&error)
    defer { zip_error_fini(&error) }
    guard let data else { return -1 }
    let target = zip_source_seek_compute_offset(
      zip_uint64_t(position), zip_uint64_t(file.byteCount), data, count, &error)
    guard target >= 0 else { return -1 }
    position = Int(target)
    return 0
  }

  private func stat(_ data: UnsafeMutableRawPointer?, _ count: zip_uint64_t) -> zip_int64_t {
    guard let data, count >= MemoryLayout<zip_stat_t>.size else { return -1 }
    let status = data.assumingMemoryBound(to: zip_stat_t.self)
    zip_stat_init(status)
    status.pointee.size = zip_uint64_t(file.byteCount)
    status.pointee.valid = zip_uint64_t(ZIP_STAT_SIZE)
    return zip_int64_t(MemoryLayout<zip_stat_t>.size)
  }

  private func error(_ data: UnsafeMutableRawPointer?, _ count: zip_uint64_t) -> zip_int64_t {
    guard let data, count >= 2 * MemoryLayout<Int32>.size else { return -1 }
    data.storeBytes(of: ZIP_ER_READ, as: Int32.self)
    data.storeBytes(of: 0, toByteOffset: MemoryLayout<Int32>.size, as: Int32.self)
    return zip_int64_t(2 * MemoryLayout<Int32>.size)
  }
}
