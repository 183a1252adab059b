extension PackedPrologue {
  /// - Throws: `FormatError` when the prologue's `bytes` have another checksum than they say.
  static func checkChecksum(of bytes: SharedBytes) throws {
    guard bytes.slice(0..<magic.count).array == magic else {
      throw FormatError.malformed("the first bytes are not those of a packed file", offset: 0)
    }
    let found = CRC32.checksum(bytes.slice(0..<checksumOffset))
    var reader = ByteReader(bytes)
    try reader.seek(to: checksumOffset)
    let expected = try reader.readInteger(UInt32.self, for: "the prologue's checksum")
    guard CRC32.isMatch(found, expected) else {
      throw FormatError(.checksumMismatch(expected: expected, found: found), offset: 0)
    }
  }

  /// The prologue that must stand before the header of `file`, whose own is damaged.
  ///
  /// All that a prologue says follows from where the header lies and what it is. The header is the
  /// zlib stream that ends with the file; it is found by trying, from the end on, each place where
  /// such a stream may begin. That it inflates to a header whose records end where it begins, and
  /// has the checksum that zlib keeps with it (Adler-32), tells it from anything else.
  ///
  /// - Returns: `nil` when there is no such header.
  /// - Throws: `FormatError` when the file cannot be read.
  init?(recoveredFrom file: InputFile) throws {
    let tailByteCount = min(file.byteCount - Self.byteCount, Self.recoveryLimit)
    guard tailByteCount > 0 else { return nil }
    let tailOffset = file.byteCount - tailByteCount
    let tail = try file.bytes(at: tailOffset, count: tailByteCount, purpose: "the header")
    var inflatedByteCount = 0
    for position in stride(from: tailByteCount - 2, through: 0, by: -1)
    where Zlib.mayBegin(tail, at: position) {
      // Bytes that are made to look like many long streams must not take forever.
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

  /// Headers longer than this, as stored, are not searched for.
  private static let recoveryLimit = 1 << 24
  static let checksumOffset = 60
}

extension PackedModel {
  /// Whether it is certain that the file's prologue was the one that was made anew from its header.
  ///
  /// The header does not say which minor version the prologue named. Either half of the damaged
  /// prologue settles that, the fields or their checksum; and so does a header that this very
  /// program wrote, which writes one version only.
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
