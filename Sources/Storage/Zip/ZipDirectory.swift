/// The central directory of a zip file. Every field is checked against the file and the local
/// headers.
///
/// libzip reads the same directory but does not expose where an entry's data begins, which is
/// needed to map entries. The layout follows APPNOTE.TXT 6.3.10; section numbers in comments refer
/// to it.
package struct ZipDirectory: Sendable {
  package let entries: [ZipArchive.Entry]

  package static let entryLimit = 1 << 20
  package static let nameByteLimit = 4096
  /// Deflate codes at most 258 bytes in 2 bits, a ratio of 1032:1; the slack covers its last block.
  package static let deflateRatioLimit = 1032

  private static let endOfDirectory: UInt32 = 0x0605_4B50
  private static let endOfDirectory64: UInt32 = 0x0606_4B50
  private static let locator64: UInt32 = 0x0706_4B50

  /// The location of the central directory, as given by the end-of-directory records.
  private struct Location {
    var entryCount: Int
    var byteCount: Int
    var offset: Int
    /// The first byte after the directory that belongs to an end record.
    var limit: Int
  }

  /// Parses and checks the central directory of `file`.
  ///
  /// - Throws: `ModelError` for a damaged, truncated, ambiguous or overlapping directory.
  package init(parsing file: InputFile) throws {
    let location = try Self.locate(in: file)
    guard location.offset <= location.limit, location.byteCount <= location.limit - location.offset
    else {
      throw ModelError.mismatch(
        expected: "a zip directory before byte \(location.limit)",
        found: "\(counted(location.byteCount, "byte")) at byte \(location.offset)", path: file.path)
    }
    guard location.entryCount <= Self.entryLimit else {
      throw ModelError(
        .limitExceeded(
          what: "the number of zip entries", limit: Self.entryLimit,
          found: "\(location.entryCount)"), path: file.path)
    }
    // Each entry takes at least the 46 fixed bytes of its header.
    guard location.entryCount <= location.byteCount / 46 else {
      throw ModelError.mismatch(
        expected: "a zip directory of \(counted(location.entryCount, "entry"))",
        found: counted(location.byteCount, "byte"), path: file.path, offset: location.offset)
    }
    let bytes = try file.bytes(
      at: location.offset, count: location.byteCount, purpose: "the zip directory")
    entries = try locatingErrors(path: file.path) {
      try Self.parse(bytes, location, file: file)
    }
  }

  // MARK: End of the directory (4.3.14 to 4.3.16)

  private static func locate(in file: InputFile) throws -> Location {
    let tailCount = min(file.byteCount, 22 + 0xFFFF)
    let tailOffset = file.byteCount - tailCount
    let tail = try file.bytes(at: tailOffset, count: tailCount, purpose: "the zip end record")
    let found = tail.withUnsafeBytes { buffer -> Int? in
      // Only a record whose comment ends exactly at the end of the file is the end record.
      stride(from: tailCount - 22, through: 0, by: -1).first { position in
        guard buffer.loadUnaligned(fromByteOffset: position, as: UInt32.self) == endOfDirectory
        else { return false }
        let comment = buffer.loadUnaligned(fromByteOffset: position + 20, as: UInt16.self)
        return position + 22 + Int(comment) == tailCount
      }
    }
    guard let found else {
      throw ModelError.malformed(
        "the zip directory at the end is missing: the file is truncated or damaged",
        path: file.path, offset: file.byteCount)
    }
    return try locatingErrors(path: file.path) {
      try parseEnd(
        ByteReader(tail.slice(found..<found + 22), baseOffset: tailOffset + found), file: file)
    }
  }

  private static func parseEnd(_ record: ByteReader, file: InputFile) throws -> Location {
    var reader = record
    let position = reader.fileOffset
    _ = try reader.readInteger(UInt32.self, for: "the zip end record")
    let disk = try reader.readInteger(UInt16.self, for: "the disk number")
    let directoryDisk = try reader.readInteger(UInt16.self, for: "the directory's disk number")
    let entriesHere = try reader.readCount(UInt16.self, for: "the entry count of this disk")
    let entryCount = try reader.readCount(UInt16.self, for: "the entry count")
    let byteCount = try reader.readCount(UInt32.self, for: "the directory's length")
    let offset = try reader.readCount(UInt32.self, for: "the directory's offset")
    let location = Location(
      entryCount: entryCount, byteCount: byteCount, offset: offset, limit: position)
    if let location64 = try locate64(before: position, in: file) {
      // A 32-bit field that is not saturated must agree with the zip64 record.
      guard entryCount == 0xFFFF || entryCount == location64.entryCount,
        byteCount == 0xFFFF_FFFF || byteCount == location64.byteCount,
        offset == 0xFFFF_FFFF || offset == location64.offset
      else {
        throw ModelError.malformed(
          "the zip and zip64 end records disagree", offset: position)
      }
      return location64
    }
    guard disk == 0, directoryDisk == 0, entriesHere == entryCount else {
      throw ModelError.unsupported(
        "multi-disk zip archives are not supported", offset: position)
    }
    return location
  }

  private static func locate64(before position: Int, in file: InputFile) throws -> Location? {
    guard position >= 20 else { return nil }
    var locator = ByteReader(
      try file.bytes(at: position - 20, count: 20, purpose: "the zip64 locator"),
      baseOffset: position - 20)
    guard try locator.readInteger(UInt32.self, for: "the zip64 locator") == locator64 else {
      return nil
    }
    _ = try locator.readInteger(UInt32.self, for: "the disk of the zip64 end record")
    let offset = try locator.readCount(UInt64.self, for: "the offset of the zip64 end record")
    guard offset <= position - 20 - 56 else {
      throw ModelError.mismatch(
        expected: "the zip64 end record before byte \(position - 20)", found: "byte \(offset)",
        offset: position - 20)
    }
    var reader = ByteReader(
      try file.bytes(at: offset, count: 56, purpose: "the zip64 end record"), baseOffset: offset)
    guard try reader.readInteger(UInt32.self, for: "the zip64 end record") == endOfDirectory64
    else {
      throw ModelError.malformed("the zip64 end record is missing", offset: offset)
    }
    _ = try reader.read(12, for: "the zip64 end record")  // its length, versions
    let disk = try reader.readInteger(UInt32.self, for: "the disk number")
    let directoryDisk = try reader.readInteger(UInt32.self, for: "the directory's disk number")
    let entriesHere = try reader.readCount(UInt64.self, for: "the entry count of this disk")
    let entryCount = try reader.readCount(UInt64.self, for: "the entry count")
    let byteCount = try reader.readCount(UInt64.self, for: "the directory's length")
    let directoryOffset = try reader.readCount(UInt64.self, for: "the directory's offset")
    guard disk == 0, directoryDisk == 0, entriesHere == entryCount else {
      throw ModelError.unsupported(
        "multi-disk zip archives are not supported", offset: offset)
    }
    return Location(
      entryCount: entryCount, byteCount: byteCount, offset: directoryOffset, limit: offset)
  }

  // MARK: Entries (4.3.12)

  private static func parse(
    _ bytes: SharedBytes, _ location: Location, file: InputFile
  ) throws -> [ZipArchive.Entry] {
    var reader = ByteReader(bytes, baseOffset: location.offset)
    var found: [(entry: ZipArchive.Entry, localOffset: Int)] = []
    found.reserveCapacity(location.entryCount)
    var names: Set<String> = []
    for index in 0..<location.entryCount {
      let start = reader.fileOffset
      let header = try ZipCentralHeader(parsing: &reader)
      guard names.insert(header.name).inserted else {
        throw ModelError.malformed(
          "two zip entries have this name", entry: header.name, offset: start)
      }
      try locatingErrors(entry: header.name) {
        try header.check(at: start)
        let dataOffset = try header.dataOffset(in: file, limit: location.offset)
        found.append((header.entry(index: index, dataOffset: dataOffset), header.localOffset))
      }
    }
    guard reader.isAtEnd else {
      throw ModelError.malformed(
        "\(reader.remaining) bytes of the zip directory belong to no entry",
        offset: reader.fileOffset)
    }
    try checkOverlaps(found)
    return found.map(\.entry)
  }

  private static func checkOverlaps(_ found: [(entry: ZipArchive.Entry, localOffset: Int)]) throws {
    var end = 0
    for (entry, localOffset) in found.sorted(by: { $0.localOffset < $1.localOffset }) {
      guard localOffset >= end else {
        throw ModelError.malformed(
          "the zip entry overlaps another one", entry: entry.name, offset: localOffset)
      }
      end = entry.dataOffset + entry.compressedByteCount
    }
  }
}

extension InputFile {
  /// Returns the file's zip directory, which is parsed only once even if several formats request
  /// it.
  ///
  /// - Throws: The same `ModelError` as `ZipDirectory(parsing:)` on every call.
  package func zipDirectory() throws -> ZipDirectory {
    try once("zip directory") { try ZipDirectory(parsing: self) }
  }
}

/// One header of the central directory.
///
/// Only this header reliably holds the sizes and the checksum: torch leaves them zero in the local
/// header.
struct ZipCentralHeader {
  private static let signature: UInt32 = 0x0201_4B50
  private static let localSignature: UInt32 = 0x0403_4B50

  var flags: UInt16
  var method: UInt16
  var crc32: UInt32
  var compressedByteCount: Int
  var byteCount: Int
  var localOffset: Int
  var name: String

  init(parsing reader: inout ByteReader) throws {
    let start = reader.fileOffset
    guard try reader.readInteger(UInt32.self, for: "a zip directory entry") == Self.signature
    else {
      throw ModelError.malformed("a zip directory entry has no signature", offset: start)
    }
    _ = try reader.read(4, for: "a zip directory entry")  // versions
    flags = try reader.readInteger(for: "the flags")
    method = try reader.readInteger(for: "the compression method")
    _ = try reader.read(4, for: "a zip directory entry")  // time and date
    crc32 = try reader.readInteger(for: "the checksum")
    let compressed = try reader.readInteger(UInt32.self, for: "the compressed length")
    let uncompressed = try reader.readInteger(UInt32.self, for: "the length")
    let nameCount = try reader.readCount(UInt16.self, for: "the name's length")
    let extraCount = try reader.readCount(UInt16.self, for: "the extra fields' length")
    let commentCount = try reader.readCount(UInt16.self, for: "the comment's length")
    let disk = try reader.readInteger(UInt16.self, for: "the disk number")
    _ = try reader.read(6, for: "a zip directory entry")  // attributes
    let offset = try reader.readInteger(UInt32.self, for: "the local header's offset")
    guard nameCount <= ZipDirectory.nameByteLimit else {
      throw ModelError(
        .limitExceeded(
          what: "the bytes of a zip entry's name", limit: ZipDirectory.nameByteLimit,
          found: "\(nameCount)"), offset: start)
    }
    name = try reader.readUTF8(nameCount, for: "a zip entry's name")
    guard !name.isEmpty, !name.utf8.contains(0) else {
      throw ModelError.malformed("a zip entry's name is empty or contains a NUL", offset: start)
    }
    guard disk == 0 || disk == 0xFFFF else {
      throw ModelError.unsupported(
        "multi-disk zip archives are not supported", entry: name, offset: start)
    }
    var zip64 = try Self.zip64Field(
      try reader.read(extraCount, for: "the extra fields"), baseOffset: start)
    // The zip64 field lists these in a fixed order (4.5.3), each only if its 32-bit field is
    // saturated.
    byteCount = try Self.widen(uncompressed, from: &zip64, for: "the length")
    compressedByteCount = try Self.widen(
      compressed, from: &zip64, for: "the compressed length")
    localOffset = try Self.widen(offset, from: &zip64, for: "the local header's offset")
    _ = try reader.read(commentCount, for: "a zip entry's comment")
  }

  /// Returns `value`, or the next number in the zip64 field if the 32-bit value is saturated.
  private static func widen(
    _ value: UInt32, from zip64: inout ByteReader, for purpose: String
  ) throws -> Int {
    value == .max ? try zip64.readCount(UInt64.self, for: "\(purpose) in zip64") : Int(value)
  }

  /// Returns the zip64 field, or an empty reader if there is none.
  private static func zip64Field(_ bytes: SharedBytes, baseOffset: Int) throws -> ByteReader {
    var extras = ByteReader(bytes, baseOffset: baseOffset)
    while extras.remaining >= 4 {
      let identifier = try extras.readInteger(UInt16.self, for: "an extra field")
      let count = try extras.readCount(UInt16.self, for: "an extra field's length")
      let field = try extras.read(count, for: "an extra field")
      if identifier == 0x0001 { return ByteReader(field, baseOffset: baseOffset) }
    }
    return ByteReader(SharedBytes(), baseOffset: baseOffset)
  }

  /// Bits 0, 6 and 13: encrypted, strongly encrypted, directory masked (4.4.4).
  private static let encryptionFlags: UInt16 = 0x2041

  private var isEncrypted: Bool { flags & Self.encryptionFlags != 0 }

  /// The reason the entry's content cannot be read, or `nil` if it can.
  private var obstacle: String? {
    if isEncrypted { return "encrypted zip entries are not supported" }
    guard method != 0, method != 8 else { return nil }
    let names: [UInt16: String] = [
      9: "deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz",
    ]
    let name = names[method].map { " (\($0))" } ?? ""
    return "zip compression method \(method)\(name) is not supported, only stored and deflated are"
  }

  /// Checks that the entry's lengths are possible.
  func check(at offset: Int) throws {
    switch method {
    case 0 where !isEncrypted:
      guard compressedByteCount == byteCount else {
        throw ModelError.mismatch(
          expected: "a stored zip entry of \(counted(byteCount, "byte"))",
          found: "\(compressedByteCount)", offset: offset)
      }
    case 8:
      let (most, overflow) = compressedByteCount.multipliedReportingOverflow(
        by: ZipDirectory.deflateRatioLimit)
      guard overflow || byteCount <= most else {
        throw ModelError(
          .limitExceeded(
            what: "the length of \(compressedByteCount) deflated bytes", limit: most,
            found: "\(byteCount)"), offset: offset)
      }
    default: break
    }
  }

  /// Reads the local header (4.3.7), checks that it agrees with this header, and returns the offset
  /// of the data behind it.
  func dataOffset(in file: InputFile, limit: Int) throws -> Int {
    guard localOffset <= limit - 30 else {
      throw ModelError.mismatch(
        expected: "a local header before byte \(limit)", found: "byte \(localOffset)")
    }
    var reader = ByteReader(
      try file.bytes(at: localOffset, count: 30, purpose: "a local zip header"),
      baseOffset: localOffset)
    guard try reader.readInteger(UInt32.self, for: "a local zip header") == Self.localSignature
    else {
      throw ModelError.malformed("the local zip header has no signature", offset: localOffset)
    }
    _ = try reader.read(2, for: "a local zip header")  // version
    let localFlags = try reader.readInteger(UInt16.self, for: "the flags")
    let localMethod = try reader.readInteger(UInt16.self, for: "the compression method")
    _ = try reader.read(4, for: "a local zip header")  // time and date
    let localCRC32 = try reader.readInteger(UInt32.self, for: "the checksum")
    let localCompressed = try reader.readInteger(UInt32.self, for: "the compressed length")
    let localUncompressed = try reader.readInteger(UInt32.self, for: "the length")
    let nameCount = try reader.readCount(UInt16.self, for: "the name's length")
    let extraCount = try reader.readCount(UInt16.self, for: "the extra fields' length")

    func agrees(_ local: UInt32, _ central: Int) -> Bool {
      local == .max || Int(local) == central
    }
    // Bit 3: the checksum and lengths follow the data and are missing from the local header.
    let isFilledIn = localFlags & 0x0008 == 0
    guard localMethod == method,
      localFlags & Self.encryptionFlags == flags & Self.encryptionFlags,
      !isFilledIn
        || localCRC32 == crc32 && agrees(localCompressed, compressedByteCount)
          && agrees(localUncompressed, byteCount)
    else {
      throw ModelError.malformed(
        "the local zip header disagrees with the zip directory", offset: localOffset)
    }
    let start = localOffset + 30 + nameCount + extraCount
    guard start <= limit, compressedByteCount <= limit - start else {
      throw ModelError(
        .truncated(
          expectedBytes: compressedByteCount, foundBytes: max(0, limit - start),
          purpose: "a zip entry"), offset: start)
    }
    let localName = try file.bytes(
      at: localOffset + 30, count: nameCount, purpose: "a zip entry's name")
    guard localName.array.elementsEqual(name.utf8) else {
      throw ModelError.malformed(
        "the name in the local zip header differs from the directory's", offset: localOffset)
    }
    return start
  }

  func entry(index: Int, dataOffset: Int) -> ZipArchive.Entry {
    ZipArchive.Entry(
      name: name, compressedByteCount: compressedByteCount, byteCount: byteCount, crc32: crc32,
      method: method == 0 ? .stored : method == 8 ? .deflated : .other(Int(method)),
      obstacle: obstacle, dataOffset: dataOffset, index: index)
  }
}
