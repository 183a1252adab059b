import Synchronization

/// A zip file opened for reading: its entries, and their bytes when asked for.
///
/// Stored entries are slices of the mapped file, deflated ones go through libzip. Lengths and
/// checksums are those of the central directory, which libzip and this library must read alike.
final class ZipArchive: Sendable {
  /// How an entry's bytes lie in the file.
  enum Method: Hashable, Sendable {
    case stored
    case deflated
    /// Another method, by its number in the directory.
    case other(Int)
  }

  struct Entry: Sendable {
    let name: String
    /// Bytes in the file.
    let compressedByteCount: Int
    /// Bytes of the content.
    let byteCount: Int
    /// CRC-32 of the content.
    let crc32: UInt32
    let method: Method
    /// Why the content cannot be read: encryption, or another method than deflate.
    let obstacle: String?
    /// Where the bytes begin in the file.
    let dataOffset: Int
    /// Position in the central directory.
    let index: Int
  }

  let file: InputFile
  /// In the order of the central directory.
  let entries: [Entry]
  private let indices: [String: Int]
  private let handle: Mutex<ZipHandle>
  /// Which stored entries' checksums have been found right.
  private let isVerified: Mutex<[Bool]>

  /// - Throws: `FormatError` for anything in the directory that is damaged or contradictory.
  init(_ file: InputFile) throws {
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
  func entry(named name: String) -> Entry? {
    indices[name].map { entries[$0] }
  }

  /// The content of `entry`, whose checksum is verified the first time. Inflated bytes are verified
  /// each time and not kept.
  ///
  /// - Throws: `FormatError` when the content is damaged, or cannot be read.
  func bytes(of entry: Entry) throws -> SharedBytes {
    try checkReadable(entry)
    return try locatingErrors(path: file.path, entry: entry.name) {
      switch entry.method {
      case .stored: try storedBytes(of: entry)
      case .deflated, .other: try inflatedBytes(of: entry)
      }
    }
  }

  /// - Throws: `FormatError` that is `unsupported` when the entry is encrypted, or compressed by a
  ///   method other than deflate.
  func checkReadable(_ entry: Entry) throws {
    guard let obstacle = entry.obstacle else { return }
    throw FormatError(
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
      throw FormatError(
        .checksumMismatch(expected: entry.crc32, found: found), offset: entry.dataOffset)
    }
  }
}
