import Storage

/// The fixed fields at the start of a packed file; the format page describes the layout.
struct PackedPrologue: Equatable {
  static let magic: [UInt8] = [0x89] + Array("CONDI".utf8) + [0x0D, 0x0A]
  static let byteCount = 64
  static let majorVersion: UInt16 = 1
  static let minorVersion: UInt16 = 0
  /// The largest header that is inflated.
  static let headerLimit = 256 << 20

  var headerOffset: Int
  var headerByteCount: Int
  var inflatedHeaderByteCount: Int
  var fileByteCount: Int
  var headerChecksum: UInt32

  init(
    headerOffset: Int, headerByteCount: Int, inflatedHeaderByteCount: Int, headerChecksum: UInt32
  ) {
    self.headerOffset = headerOffset
    self.headerByteCount = headerByteCount
    self.inflatedHeaderByteCount = inflatedHeaderByteCount
    self.fileByteCount = headerOffset + headerByteCount
    self.headerChecksum = headerChecksum
  }

  /// Reads and checks the prologue of `file` in the order the format page prescribes.
  init(parsing file: InputFile) throws {
    try self.init(
      parsing: file.bytes(at: 0, count: Self.byteCount, purpose: "the prologue"))
    try checkLength(ofFile: file.byteCount)
    try checkPlaces()
  }

  /// Reads the prologue's bytes and checks every field except the offsets and lengths.
  init(parsing bytes: SharedBytes) throws {
    var reader = ByteReader(bytes)
    guard try reader.read(8, for: "the magic").array == Self.magic else {
      throw ModelError.malformed("the first bytes are not those of a packed file", offset: 0)
    }
    let major = try reader.readInteger(UInt16.self, for: "the version")
    guard major == Self.majorVersion else {
      throw ModelError.unsupported(
        "packed format version \(major) is not known; this program reads version "
          + "\(Self.majorVersion)", offset: 8)
    }
    let found = CRC32.checksum(bytes.slice(0..<Self.checksumOffset))
    try reader.seek(to: Self.checksumOffset)
    let expected = try reader.readInteger(UInt32.self, for: "the prologue's checksum")
    guard CRC32.isMatch(found, expected) else {
      throw ModelError(
        .checksumMismatch(expected: expected, found: found), entry: "prologue", offset: 60)
    }
    try reader.seek(to: 12)
    let reserved = try reader.readInteger(UInt32.self, for: "reserved bytes")
    headerOffset = try reader.readCount(UInt64.self, for: "the header's offset")
    headerByteCount = try reader.readCount(UInt64.self, for: "the header's length")
    inflatedHeaderByteCount = try reader.readCount(UInt64.self, for: "the inflated header's length")
    fileByteCount = try reader.readCount(UInt64.self, for: "the file's length")
    headerChecksum = try reader.readInteger(UInt32.self, for: "the header's checksum")
    let reservedTail = try reader.readInteger(UInt64.self, for: "reserved bytes")
    guard reserved == 0, reservedTail == 0 else {
      throw ModelError.malformed("reserved bytes of the prologue are not zero", offset: 12)
    }
  }

  private func checkLength(ofFile found: Int) throws {
    guard fileByteCount == found else {
      throw ModelError(
        .truncated(
          expectedBytes: fileByteCount, foundBytes: found, purpose: "the whole file"), offset: 40)
    }
  }

  /// Checks that the header lies at a possible place and does not exceed the limit of its length.
  func checkPlaces() throws {
    guard headerOffset >= Self.byteCount, headerOffset <= fileByteCount,
      headerByteCount == fileByteCount - headerOffset
    else {
      throw ModelError.mismatch(
        expected: "a header that begins at byte \(Self.byteCount) or later and ends with the file",
        found: "\(headerByteCount) bytes at \(headerOffset)", offset: 16)
    }
    guard inflatedHeaderByteCount <= Self.headerLimit else {
      throw ModelError(
        .limitExceeded(
          what: "a header's length in bytes", limit: Self.headerLimit,
          found: "\(inflatedHeaderByteCount)"), offset: 32)
    }
  }

  /// The 64 bytes, with their checksum.
  var bytes: [UInt8] {
    var bytes = Self.magic
    func append(_ value: some FixedWidthInteger) {
      withUnsafeBytes(of: value.littleEndian) { bytes += $0 }
    }
    append(Self.majorVersion)
    append(Self.minorVersion)
    append(UInt32(0))
    append(UInt64(headerOffset))
    append(UInt64(headerByteCount))
    append(UInt64(inflatedHeaderByteCount))
    append(UInt64(fileByteCount))
    append(headerChecksum)
    append(UInt64(0))
    append(bytes.withUnsafeBytes { CRC32.checksum($0) })
    return bytes
  }
}

extension PackedPrologue {
  /// - Throws: `ModelError` when the prologue's `bytes` do not match their checksum.
  static func checkChecksum(of bytes: SharedBytes) throws {
    guard bytes.slice(0..<magic.count).array == magic else {
      throw ModelError.malformed("the first bytes are not those of a packed file", offset: 0)
    }
    let found = CRC32.checksum(bytes.slice(0..<checksumOffset))
    var reader = ByteReader(bytes)
    try reader.seek(to: checksumOffset)
    let expected = try reader.readInteger(UInt32.self, for: "the prologue's checksum")
    guard CRC32.isMatch(found, expected) else {
      throw ModelError(.checksumMismatch(expected: expected, found: found), offset: 0)
    }
  }

  /// Recovers the prologue of `file`, whose own is damaged, from the header.
  ///
  /// A prologue follows entirely from the header's place and content. The header is the zlib stream
  /// that ends with the file; it is found by trying, from the end backwards, each place where such
  /// a stream may begin. It is identified by zlib's own checksum (Adler-32) and by inflating to a
  /// header whose records end where it begins.
  ///
  /// - Returns: `nil` when there is no such header.
  /// - Throws: `ModelError` when the file cannot be read.
  init?(recoveredFrom file: InputFile) throws {
    let tailByteCount = min(file.byteCount - Self.byteCount, Self.recoveryLimit)
    guard tailByteCount > 0 else { return nil }
    let tailOffset = file.byteCount - tailByteCount
    let tail = try file.bytes(at: tailOffset, count: tailByteCount, purpose: "the header")
    var inflatedByteCount = 0
    for position in stride(from: tailByteCount - 2, through: 0, by: -1)
    where Zlib.mayBegin(tail, at: position) {
      // Hostile bytes that look like many long streams must not take forever.
      guard inflatedByteCount <= 2 * Self.headerLimit else { return nil }
      let stored = tail.slice(position..<tailByteCount)
      let (inflated, isWhole) = Zlib.probe(stored, limit: Self.headerLimit)
      inflatedByteCount += inflated
      guard isWhole else { continue }
      let prologue = PackedPrologue(
        headerOffset: tailOffset + position, headerByteCount: stored.count,
        inflatedHeaderByteCount: inflated, headerChecksum: CRC32.checksum(stored))
      if (try? PackedModel(parsing: file, prologue)) != nil {
        self = prologue
        return
      }
    }
    return nil
  }

  /// The longest stored header that is searched for.
  private static let recoveryLimit = 1 << 24
  static let checksumOffset = 60
}

extension PackedModel {
  /// Whether the prologue rebuilt from the header is certainly the file's original one.
  ///
  /// The header does not record which minor version the prologue named. Either half of the damaged
  /// prologue, the fields or their checksum, settles that. So does a header written by this version
  /// of the program, which writes only one minor version.
  func provesItsPrologue() throws -> Bool {
    let remade = prologue.bytes
    let split = PackedPrologue.checksumOffset
    let count = min(remade.count, file.byteCount)
    let stored = try file.bytes(at: 0, count: count, purpose: "the prologue").array
    return stored.count == remade.count
      && (stored[..<split] == remade[..<split] || stored[split...] == remade[split...])
      || header.producer == Producer.current
  }
}
