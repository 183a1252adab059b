/// One header of the central directory, the only place whose sizes and checksum can be trusted to be
/// filled in: torch leaves them zero in the local header.
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
      throw FormatError.malformed("a zip directory entry has no signature", offset: start)
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
      throw FormatError(
        .limitExceeded(
          what: "the bytes of a zip entry's name", limit: ZipDirectory.nameByteLimit,
          found: "\(nameCount)"), offset: start)
    }
    name = try reader.readUTF8(nameCount, for: "a zip entry's name")
    guard !name.isEmpty, !name.utf8.contains(0) else {
      throw FormatError.malformed("a zip entry's name is empty or holds a NUL", offset: start)
    }
    guard disk == 0 || disk == 0xFFFF else {
      throw FormatError.unsupported(
        "a zip archive split over several disks is not supported", tensor: name, offset: start)
    }
    var zip64 = try Self.zip64Field(
      try reader.read(extraCount, for: "the extra fields"), baseOffset: start)
    // The order of the fields in the zip64 field (4.5.3), present only where saturated.
    byteCount = try Self.widen(uncompressed, from: &zip64, for: "the length")
    compressedByteCount = try Self.widen(
      compressed, from: &zip64, for: "the compressed length")
    localOffset = try Self.widen(offset, from: &zip64, for: "the local header's offset")
    _ = try reader.read(commentCount, for: "a zip entry's comment")
  }

  /// `value`, or the next number of the zip64 field where the 32 bits are saturated.
  private static func widen(
    _ value: UInt32, from zip64: inout ByteReader, for purpose: String
  ) throws -> Int {
    value == .max ? try zip64.readCount(UInt64.self, for: "\(purpose) in zip64") : Int(value)
  }

  /// The zip64 field, empty where there is none.
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

  /// Why the entry's content cannot be read.
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
        throw FormatError.mismatch(
          expected: "a stored zip entry of \(counted(byteCount, "byte"))",
          found: "\(compressedByteCount)", offset: offset)
      }
    case 8:
      let (most, overflow) = compressedByteCount.multipliedReportingOverflow(
        by: ZipDirectory.deflateRatioLimit)
      guard overflow || byteCount <= most else {
        throw FormatError(
          .limitExceeded(
            what: "the length of \(compressedByteCount) deflated bytes", limit: most,
            found: "\(byteCount)"), offset: offset)
      }
    default: break
    }
  }

  /// Reads the local header (4.3.7), which must agree, and finds where it ends.
  func dataOffset(in file: InputFile, limit: Int) throws -> Int {
    guard localOffset <= limit - 30 else {
      throw FormatError.mismatch(
        expected: "a local header before byte \(limit)", found: "byte \(localOffset)")
    }
    var reader = ByteReader(
      try file.bytes(at: localOffset, count: 30, purpose: "a local zip header"),
      baseOffset: localOffset)
    guard try reader.readInteger(UInt32.self, for: "a local zip header") == Self.localSignature
    else {
      throw FormatError.malformed("the local zip header has no signature", offset: localOffset)
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
    // Bit 3: checksum and lengths follow the data, and the local header does not have them.
    let isFilledIn = localFlags & 0x0008 == 0
    guard localMethod == method,
      localFlags & Self.encryptionFlags == flags & Self.encryptionFlags,
      !isFilledIn
        || localCRC32 == crc32 && agrees(localCompressed, compressedByteCount)
          && agrees(localUncompressed, byteCount)
    else {
      throw FormatError.malformed(
        "the local zip header disagrees with the zip directory", offset: localOffset)
    }
    let start = localOffset + 30 + nameCount + extraCount
    guard start <= limit, compressedByteCount <= limit - start else {
      throw FormatError(
        .truncated(
          expectedBytes: compressedByteCount, foundBytes: max(0, limit - start),
          purpose: "a zip entry"), offset: start)
    }
    let localName = try file.bytes(
      at: localOffset + 30, count: nameCount, purpose: "a zip entry's name")
    guard localName.array.elementsEqual(name.utf8) else {
      throw FormatError.malformed(
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
