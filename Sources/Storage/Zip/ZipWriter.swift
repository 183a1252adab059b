/// Plans a zip archive whose bytes depend only on its entries.
///
/// Entries keep the order in which they were added; their dates are all 1980-01-01. Entries and
/// archives of 4 GiB or more use zip64. The layout is that of APPNOTE.TXT 6.3.10, with the fields
/// as libzip fills them in. libzip itself writes entries one after another and does not tell their
/// offsets in advance, so it cannot follow a plan.
package struct ZipWriter {
  package enum Compression: Sendable {
    case stored
    case deflated
  }

  fileprivate struct Entry: Sendable {
    let name: String
    let tensors: [String]
    let sourceByteCount: Int
    /// The content's length before compression.
    let byteCount: Int
    let compression: Compression
    let alignment: Int
    let content: Content
  }

  fileprivate enum Content: Sendable {
    case made(@Sendable () throws -> SharedBytes)
    /// Made from the CRC-32s of all entries before it.
    case derived(@Sendable ([UInt32]) -> SharedBytes)
  }

  private var entries: [Entry] = []
  private var hasDeflated = false

  package init() {}

  /// Adds an entry whose content is made while the archive is written.
  ///
  /// - Parameters:
  ///   - name: must not have been added before.
  ///   - tensors: the tensors whose content the entry holds, for reports of progress.
  ///   - sourceByteCount: the number of bytes read to make the content.
  ///   - byteCount: the content's length before compression.
  ///   - alignment: the content of a stored entry begins at a multiple of this; the local header is
  ///     padded with an extra field `FB`, as torch does. Every entry before an aligned one must be
  ///     stored, because only then is its offset known in advance.
  ///   - content: returns exactly `byteCount` bytes; its error ends the writing and is rethrown.
  package mutating func add(
    _ name: String, tensors: [String] = [], sourceByteCount: Int = 0, byteCount: Int,
    compression: Compression = .stored, alignment: Int = 1,
    content: @escaping @Sendable () throws -> SharedBytes
  ) {
    append(
      Entry(
        name: name, tensors: tensors, sourceByteCount: sourceByteCount, byteCount: byteCount,
        compression: compression, alignment: alignment, content: .made(content)))
  }

  /// Adds a stored or deflated entry whose content is in memory.
  package mutating func add(
    _ name: String, _ bytes: SharedBytes, compression: Compression = .stored, alignment: Int = 1
  ) {
    add(name, byteCount: bytes.count, compression: compression, alignment: alignment) { bytes }
  }

  /// Adds a stored entry that is made last, from the CRC-32s of all entries before it.
  package mutating func add(
    _ name: String, byteCount: Int, alignment: Int = 1,
    derivedFromChecksums content: @escaping @Sendable ([UInt32]) -> SharedBytes
  ) {
    append(
      Entry(
        name: name, tensors: [], sourceByteCount: 0, byteCount: byteCount, compression: .stored,
        alignment: alignment, content: .derived(content)))
  }

  private mutating func append(_ entry: Entry) {
    precondition((1...0x8000).contains(entry.alignment), "a zip alignment is between 1 and 32768")
    hasDeflated = hasDeflated || entry.compression == .deflated
    precondition(
      entry.alignment == 1 || !hasDeflated, "an aligned zip entry and all before it are stored")
    if case .derived = entry.content {
      precondition(!hasDeflated, "a derived zip entry and all before it are stored")
    }
    entries.append(entry)
  }

  /// Plans the archive, with one record per entry that is not derived.
  package func plan() -> PlannedFile<Never> {
    var records: [PlannedRecord<Never>] = []
    var places: [Place] = []
    var end = 0
    // Of deflated contents nobody knows the length.
    var unknownByteCount = 0
    for entry in entries {
      let padding = entry.padding(after: end)
      let offset = end + entry.localHeaderByteCount + padding.count
      let limit = entry.storedByteCountLimit
      var place = Place(entry: entry, padding: padding, offset: offset)
      if case .made(let content) = entry.content {
        place.record = records.count
        records.append(
          PlannedRecord(
            name: entry.tensors.first ?? entry.name, names: entry.tensors, entry: entry.name,
            offset: offset, byteCount: limit, sourceByteCount: entry.sourceByteCount
          ) { try entry.record(content) })
      }
      places.append(place)
      end = offset + limit
      if entry.compression == .deflated { unknownByteCount += limit }
    }
    return PlannedFile(
      records, isFlowing: hasDeflated, recordsEnd: end,
      knownByteCount: end + directoryByteCountLimit - unknownByteCount
    ) { [places] results in
      try ZipSeal(places, results).pieces
    }
  }

  /// What follows the contents, at most: a header of 46 bytes for each entry, with its name and three
  /// lengths of zip64, and the two end records with the locator between them.
  private var directoryByteCountLimit: Int {
    entries.reduce(22 + 56 + 20) { $0 + 46 + $1.name.utf8.count + 28 }
  }

  /// The planned place of an entry.
  private struct Place: Sendable {
    let entry: Entry
    /// The extra field that aligns the content.
    let padding: [UInt8]
    let offset: Int
    /// The index of its record; `nil` if it is derived.
    var record: Int?
  }

  /// The local headers, derived entries and directory of an archive whose records have been made.
  private struct ZipSeal {
    private(set) var pieces: [FilePiece] = []
    private var directory: [UInt8] = []

    init(_ places: [Place], _ results: [RecordResult<Never>]) throws {
      var checksums: [UInt32] = []
      directory.reserveCapacity(places.reduce(0) { $0 + 80 + $1.entry.name.utf8.count })
      var end = 0
      for place in places {
        let (entry, padding) = (place.entry, place.padding)
        let checksum: UInt32
        let storedByteCount: Int
        let header = end
        if let result = place.record.map({ results[$0] }) {
          (checksum, storedByteCount) = (result.contentChecksum, result.byteCount)
          end = result.offset + result.byteCount
        } else if case .derived(let content) = entry.content {
          let bytes = content(checksums)
          precondition(
            bytes.count == entry.byteCount, "a derived entry has the length it was given")
          (checksum, storedByteCount) = (CRC32.checksum(bytes), bytes.count)
          pieces.append(FilePiece(offset: place.offset, bytes: bytes))
          end = place.offset + bytes.count
        } else {
          preconditionFailure("every entry has a record or is derived")
        }
        checksums.append(checksum)
        pieces.append(
          FilePiece(
            offset: header,
            bytes: SharedBytes(entry.localHeader(storedByteCount, checksum, padding))))
        directory += entry.directoryHeader(storedByteCount, checksum, offset: header)
      }
      let tail =
        directory
        + Self.endRecords(
          entryCount: places.count, offset: end, byteCount: directory.count)
      pieces.append(FilePiece(offset: end, bytes: SharedBytes(tail)))
    }

    /// Returns the end of central directory record, preceded by those of zip64 if a number needs
    /// them.
    private static func endRecords(entryCount: Int, offset: Int, byteCount: Int) -> [UInt8] {
      var bytes: [UInt8] = []
      if entryCount >= 0xFFFF || offset >= 0xFFFF_FFFF || byteCount >= 0xFFFF_FFFF {
        bytes.append(fields: UInt32(0x0606_4B50), UInt64(44), UInt16(45), UInt16(45))
        bytes.append(fields: UInt32(0), UInt32(0))
        bytes.append(
          fields: UInt64(entryCount), UInt64(entryCount), UInt64(byteCount), UInt64(offset))
        bytes.append(
          fields: UInt32(0x0706_4B50), UInt32(0), UInt64(offset + byteCount), UInt32(1))
      }
      bytes.append(fields: UInt32(0x0605_4B50), UInt16(0), UInt16(0))
      bytes.append(fields: UInt16(clamping: entryCount), UInt16(clamping: entryCount))
      bytes.append(fields: UInt32(clamping: byteCount), UInt32(clamping: offset), UInt16(0))
      return bytes
    }
  }
}

extension ZipWriter.Entry {
  /// The length of the content in the file, at most.
  fileprivate var storedByteCountLimit: Int {
    compression == .stored ? byteCount : Zlib.deflatedLimit(byteCount)
  }

  /// Whether lengths may need more than 32 bits, for which the local header keeps room.
  private var isLong: Bool { max(byteCount, storedByteCountLimit) >= 0xFFFF_FFFF }

  /// 30 bytes, the name, and 20 bytes of zip64 lengths if they are needed.
  fileprivate var localHeaderByteCount: Int {
    30 + name.utf8.count + (isLong ? 20 : 0)
  }

  /// Returns the extra field that makes the content begin at a multiple of the alignment.
  fileprivate func padding(after end: Int) -> [UInt8] {
    let start = end + localHeaderByteCount
    guard alignment > 1, !start.isMultiple(of: alignment) else { return [] }
    let fill = -(start + 4) & (alignment - 1)
    var padding: [UInt8] = []
    padding.append(fields: UInt16(0x4246), UInt16(fill))
    return padding + [UInt8](repeating: UInt8(ascii: "Z"), count: fill)
  }

  fileprivate func record(
    _ content: @Sendable () throws -> SharedBytes
  ) throws -> MadeRecord<Never> {
    let bytes = try content()
    guard bytes.count == byteCount else {
      throw ModelError(
        .truncated(expectedBytes: byteCount, foundBytes: bytes.count, purpose: "a zip entry"))
    }
    guard compression == .deflated else { return MadeRecord(bytes) }
    return MadeRecord(
      SharedBytes(Zlib.compress(bytes, in: .none)), contentChecksum: CRC32.checksum(bytes))
  }

  /// Returns the fields that both headers share: version, flags, method, date and checksum (4.4.4
  /// to 4.4.7).
  private func commonFields(_ checksum: UInt32, usesZip64: Bool) -> [UInt8] {
    let isDeflated = compression == .deflated
    let isUTF8 = name.utf8.contains { $0 >= 0x80 }
    var bytes: [UInt8] = []
    bytes.append(fields: UInt16(usesZip64 ? 45 : isDeflated ? 20 : 10))
    // Bit 1: deflated at the highest level; bit 11: the name is UTF-8.
    bytes.append(fields: UInt16((isDeflated ? 0x0002 : 0) | (isUTF8 ? 0x0800 : 0)))
    bytes.append(fields: UInt16(isDeflated ? 8 : 0), UInt16(0), UInt16(0x0021), checksum)
    return bytes
  }

  fileprivate func localHeader(
    _ storedByteCount: Int, _ checksum: UInt32, _ padding: [UInt8]
  ) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.append(fields: UInt32(0x0403_4B50))
    bytes += commonFields(checksum, usesZip64: isLong)
    bytes.append(
      fields: isLong ? UInt32.max : UInt32(storedByteCount), isLong ? UInt32.max : UInt32(byteCount)
    )
    bytes.append(
      fields: UInt16(name.utf8.count), UInt16((isLong ? 20 : 0) + padding.count))
    bytes += Array(name.utf8)
    if isLong {
      bytes.append(fields: UInt16(1), UInt16(16), UInt64(byteCount), UInt64(storedByteCount))
    }
    return bytes + padding
  }

  fileprivate func directoryHeader(
    _ storedByteCount: Int, _ checksum: UInt32, offset: Int
  ) -> [UInt8] {
    var extra: [UInt8] = []
    if byteCount >= 0xFFFF_FFFF { extra.append(fields: UInt64(byteCount)) }
    if storedByteCount >= 0xFFFF_FFFF { extra.append(fields: UInt64(storedByteCount)) }
    if offset >= 0xFFFF_FFFF { extra.append(fields: UInt64(offset)) }
    var bytes: [UInt8] = []
    // Made by version 6.3 on Unix.
    bytes.append(fields: UInt32(0x0201_4B50), UInt16(0x033F))
    bytes += commonFields(checksum, usesZip64: !extra.isEmpty)
    bytes.append(fields: UInt32(clamping: storedByteCount), UInt32(clamping: byteCount))
    bytes.append(fields: UInt16(name.utf8.count), UInt16(extra.isEmpty ? 0 : extra.count + 4))
    bytes.append(fields: UInt16(0), UInt16(0), UInt16(0))
    // A regular file that everyone may read and write.
    bytes.append(fields: UInt32(0o100666) << 16, UInt32(clamping: offset))
    bytes += Array(name.utf8)
    if !extra.isEmpty { bytes.append(fields: UInt16(1), UInt16(extra.count)) }
    return bytes + extra
  }
}
