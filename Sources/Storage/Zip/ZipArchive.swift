import CLibzip
import Glibc
import Synchronization

/// A zip file opened for reading: its entries, and their bytes when asked for.
///
/// Stored entries are slices of the mapped file, deflated ones go through libzip. Lengths and
/// checksums are those of the central directory, which libzip and this library must read alike.
package final class ZipArchive: Sendable {
  /// How an entry's bytes lie in the file.
  package enum Method: Hashable, Sendable {
    case stored
    case deflated
    /// Another method, by its number in the directory.
    case other(Int)
  }

  package struct Entry: Sendable {
    package let name: String
    /// Bytes in the file.
    package let compressedByteCount: Int
    /// Bytes of the content.
    package let byteCount: Int
    /// CRC-32 of the content.
    package let crc32: UInt32
    package let method: Method
    /// Why the content cannot be read: encryption, or another method than deflate.
    package let obstacle: String?
    /// Where the bytes begin in the file.
    package let dataOffset: Int
    /// Position in the central directory.
    package let index: Int
  }

  package let file: InputFile
  /// In the order of the central directory.
  package let entries: [Entry]
  private let indices: [String: Int]
  private let handle: Mutex<ZipHandle>
  /// Which stored entries' checksums have been found right.
  private let isVerified: Mutex<[Bool]>

  /// - Throws: `ModelError` for anything in the directory that is damaged or contradictory.
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

  /// The entry of exactly this name.
  package func entry(named name: String) -> Entry? {
    indices[name].map { entries[$0] }
  }

  /// The content of `entry`, whose checksum is verified the first time. Inflated bytes are verified
  /// each time and not kept.
  ///
  /// - Throws: `ModelError` when the content is damaged, or cannot be read.
  package func bytes(of entry: Entry) throws -> SharedBytes {
    try checkReadable(entry)
    return try locatingErrors(path: file.path, entry: entry.name) {
      switch entry.method {
      case .stored: try storedBytes(of: entry)
      case .deflated, .other: try inflatedBytes(of: entry)
      }
    }
  }

  /// - Throws: `ModelError` that is `unsupported` when the entry is encrypted, or compressed by a
  ///   method other than deflate.
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

/// libzip's view of a zip file open for reading; one thread at a time.
struct ZipHandle: ~Copyable {
  private let archive: OpaquePointer
  private let source: ZipInputSource

  /// Opens `file` with libzip's own consistency checks.
  init(opening file: InputFile) throws {
    // Reading through `InputFile` instead of a descriptor: duplicates of a descriptor share one
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
          "not a sound zip archive: \(ZipError.message(&error))", path: file.path)
    }
    self.archive = archive
  }

  deinit { zip_discard(archive) }

  /// Compares what libzip read of each entry with `entries`.
  ///
  /// - Throws: `ModelError` on the first difference: such a file shows different content to
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
          "the zip directory can be read in two ways", path: path, entry: entry.name)
      }
    }
  }

  /// The content of a deflated entry, of exactly the declared length.
  func inflate(_ entry: ZipArchive.Entry) throws -> SharedBytes {
    // `ZipCentralHeader` compared the length with what deflate can reach, before this allocation.
    try SharedBytes(count: entry.byteCount) { try inflate(entry, into: $0) }
  }

  /// The most bytes that libzip is asked for at once.
  private static let pieceByteCount = 1 << 30

  private func inflate(
    _ entry: ZipArchive.Entry, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    guard let file = zip_fopen_index(archive, zip_uint64_t(entry.index), 0) else {
      throw source.takeFailure() ?? failure(at: entry)
    }
    defer { zip_fclose(file) }
    var done = 0
    while done < buffer.count {
      // libzip returns lengths of 4 GiB and more cut to 32 bits.
      let end = min(buffer.count, done + Self.pieceByteCount)
      let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<end])
      let count = zip_fread(file, rest.baseAddress, zip_uint64_t(rest.count))
      guard count >= 0 else { throw source.takeFailure() ?? failure(of: file, at: entry) }
      guard count > 0 else {
        throw ModelError(
          .truncated(
            expectedBytes: buffer.count, foundBytes: done, purpose: "a deflated zip entry"),
          offset: entry.dataOffset)
      }
      done += Int(count)
    }
    // libzip compares length and checksum when it meets the end.
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
  /// As the directory has it.
  fileprivate var number: UInt16 {
    switch self {
    case .stored: 0
    case .deflated: 8
    case .other(let number): UInt16(number)
    }
  }
}

/// libzip's message for an error.
enum ZipError {
  static func message(_ error: UnsafeMutablePointer<zip_error_t>?) -> String {
    error.flatMap(zip_error_strerror).map { String(cString: $0) } ?? "unknown zip error"
  }
}

/// Serves an `InputFile` to libzip as a seekable source.
///
/// Used under the lock of the archive, or by `ZipHandle`'s initializer before anyone else sees it.
final class ZipInputSource: ZipSource {
  private let file: InputFile
  private var position: Int = 0
  /// The error of the operating system that made a call fail, which libzip knows as a number only.
  private(set) var failure: ModelError?

  init(_ file: InputFile) { self.file = file }

  func takeFailure() -> ModelError? {
    defer { failure = nil }
    return failure
  }

  func handle(
    _ command: zip_source_cmd_t, _ data: UnsafeMutableRawPointer?, _ count: zip_uint64_t
  ) -> zip_int64_t {
    switch command {
    case ZIP_SOURCE_OPEN:
      position = 0
      return 0
    case ZIP_SOURCE_CLOSE: return 0
    case ZIP_SOURCE_TELL: return zip_int64_t(position)
    case ZIP_SOURCE_READ: return read(into: data, count: count)
    case ZIP_SOURCE_SEEK:
      let target = ZipSourceCommand.seek(from: position, byteCount: file.byteCount, data, count)
      guard let target else { return -1 }
      position = target
      return 0
    case ZIP_SOURCE_STAT: return ZipSourceCommand.stat(byteCount: file.byteCount, data, count)
    case ZIP_SOURCE_ERROR: return ZipSourceCommand.error(ZIP_ER_READ, data, count)
    case ZIP_SOURCE_SUPPORTS:
      return ZipSourceCommand.bitmap([
        ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR,
        ZIP_SOURCE_FREE, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL, ZIP_SOURCE_SUPPORTS,
      ])
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
}
