/// The central directory of a zip file, every field checked against the file and the local headers.
///
/// libzip reads the same directory but tells nobody where an entry's data begin, which mapping them
/// needs. The layout is that of APPNOTE.TXT 6.3.10; numbers in comments are its sections.
struct ZipDirectory: Sendable {
  let entries: [ZipArchive.Entry]

  static let entryLimit = 1 << 20
  static let nameByteLimit = 4096
  /// Deflate codes at most 258 bytes in 2 bits, so 1032:1; the slack covers its last block.
  static let deflateRatioLimit = 1032

  private static let endOfDirectory: UInt32 = 0x0605_4B50
  private static let endOfDirectory64: UInt32 = 0x0606_4B50
  private static let locator64: UInt32 = 0x0706_4B50

  /// Where the central directory lies, from the end-of-directory records.
  private struct Location {
    var entryCount: Int
    var byteCount: Int
    var offset: Int
    /// The first byte after the directory that belongs to an end record.
    var limit: Int
  }

  /// - Throws: `FormatError` for a damaged, truncated, ambiguous or overlapping directory.
  init(parsing file: InputFile) throws {
    let location = try Self.locate(in: file)
    guard location.offset <= location.limit, location.byteCount <= location.limit - location.offset
    else {
      throw FormatError.mismatch(
        expected: "a zip directory before byte \(location.limit)",
        found: "\(counted(location.byteCount, "byte")) at byte \(location.offset)", path: file.path)
    }
    guard location.entryCount <= Self.entryLimit else {
      throw FormatError(
        .limitExceeded(
          what: "the number of zip entries", limit: Self.entryLimit,
          found: "\(location.entryCount)"), path: file.path)
    }
    // Each entry takes at least the 46 fixed bytes of its header.
    guard location.entryCount <= location.byteCount / 46 else {
      throw FormatError.mismatch(
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
      // The record's comment must end with the file, or it is not the end record.
      stride(from: tailCount - 22, through: 0, by: -1).first { position in
        guard buffer.loadUnaligned(fromByteOffset: position, as: UInt32.self) == endOfDirectory
        else { return false }
        let comment = buffer.loadUnaligned(fromByteOffset: position + 20, as: UInt16.self)
        return position + 22 + Int(comment) == tailCount
      }
    }
    guard let found else {
      throw FormatError.malformed(
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
      // A 32-bit field that is not saturated must say the same.
      guard entryCount == 0xFFFF || entryCount == location64.entryCount,
        byteCount == 0xFFFF_FFFF || byteCount == location64.byteCount,
        offset == 0xFFFF_FFFF || offset == location64.offset
      else {
        throw FormatError.malformed(
          "the zip and zip64 end records disagree", offset: position)
      }
      return location64
    }
    guard disk == 0, directoryDisk == 0, entriesHere == entryCount else {
      throw FormatError.unsupported(
        "a zip archive split over several disks is not supported", offset: position)
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
      throw FormatError.mismatch(
        expected: "the zip64 end record before byte \(position - 20)", found: "byte \(offset)",
        offset: position - 20)
    }
    var reader = ByteReader(
      try file.bytes(at: offset, count: 56, purpose: "the zip64 end record"), baseOffset: offset)
    guard try reader.readInteger(UInt32.self, for: "the zip64 end record") == endOfDirectory64
    else {
      throw FormatError.malformed("the zip64 end record is missing", offset: offset)
    }
    _ = try reader.read(12, for: "the zip64 end record")  // its length, versions
    let disk = try reader.readInteger(UInt32.self, for: "the disk number")
    let directoryDisk = try reader.readInteger(UInt32.self, for: "the directory's disk number")
    let entriesHere = try reader.readCount(UInt64.self, for: "the entry count of this disk")
    let entryCount = try reader.readCount(UInt64.self, for: "the entry count")
    let byteCount = try reader.readCount(UInt64.self, for: "the directory's length")
    let directoryOffset = try reader.readCount(UInt64.self, for: "the directory's offset")
    guard disk == 0, directoryDisk == 0, entriesHere == entryCount else {
      throw FormatError.unsupported(
        "a zip archive split over several disks is not supported", offset: offset)
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
        throw FormatError.malformed(
          "two zip entries have this name", tensor: header.name, offset: start)
      }
      try locatingErrors(tensor: header.name) {
        try header.check(at: start)
        let dataOffset = try header.dataOffset(in: file, limit: location.offset)
        found.append((header.entry(index: index, dataOffset: dataOffset), header.localOffset))
      }
    }
    guard reader.isAtEnd else {
      throw FormatError.malformed(
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
        throw FormatError.malformed(
          "the zip entry overlaps another one", tensor: entry.name, offset: localOffset)
      }
      end = entry.dataOffset + entry.compressedByteCount
    }
  }
}
