import OrderedCollections
import Storage
import Synchronization

/// Writes a packed file in two steps: a plan that fixes every length and place, then the records,
/// in any order and on any number of threads, with the same bytes as the result.
public struct PackedWriter: Sendable {
  /// The header with every entry in place; checksums are filled in by `write`.
  public let header: PackedHeader
  /// How each entry's record is made.
  private let makers: [RecordMaker]

  fileprivate struct RecordMaker: Sendable {
    let item: PackedItem
    let lossless: LosslessEncoding?
  }

  /// Plans the file: finds tensors that are the same, the lossless encoding of each kept tensor, and
  /// the place of every record.
  ///
  /// - Parameters:
  ///   - header: everything but the tensors.
  ///   - items: the tensors in the archive's order; names are distinct.
  public init(
    header: PackedHeader, items: [PackedItem], runningTasks run: TaskRunner = sequentially
  ) throws {
    let originals = try items.originals()
    let kept = items.indices.filter { originals[$0] == $0 }
    let encodings = Mutex([LosslessEncoding?](repeating: nil, count: items.count))
    let records = PlannedRecords()
    try run(kept.count) { position in
      let index = kept[position]
      guard case .keep = items[index].action else { return }
      let encoding = try locatingErrors(tensor: items[index].name) {
        try LosslessEncoding(choosingFor: items[index].source, keepingIn: records)
      }
      encodings.withLock { $0[index] = encoding }
    }

    var planned = header
    var makers: [RecordMaker] = []
    var entryOfItem: [Int: Int] = [:]
    var end = PackedPrologue.byteCount
    let chosen = encodings.withLock { $0 }
    for (index, item) in items.enumerated() {
      guard planned.names[item.name] == nil else {
        throw ModelError.malformed("two tensors have this name", tensor: item.name)
      }
      if let entry = entryOfItem[originals[index]] {
        planned.names[item.name] = entry
        continue
      }
      var entry = try Self.entry(for: item, chosen[index])
      entry.offset = PackedEntry.offset(after: end, byteCount: entry.byteCount)
      end = entry.offset + entry.byteCount
      entryOfItem[index] = planned.entries.count
      planned.names[item.name] = planned.entries.count
      planned.entries.append(entry)
      makers.append(RecordMaker(item: item, lossless: chosen[index]))
    }
    self.header = planned
    self.makers = makers
  }

  /// A file that was planned before, perhaps by another process.
  ///
  /// - Parameters:
  ///   - header: of a writer that planned the file.
  ///   - items: the tensors, among which are all that have an entry.
  /// - Throws: `ModelError` when the plan is not one for these items, or no plan at all.
  package init(planned header: PackedHeader, items: [PackedItem]) throws {
    let itemOfName = Dictionary(items.map { ($0.name, $0) }) { first, _ in first }
    var end = PackedPrologue.byteCount
    makers = try header.entries.map { entry in
      guard entry.offset == PackedEntry.offset(after: end, byteCount: entry.byteCount) else {
        throw ModelError.mismatch(
          expected: "a record after \(end)", found: "\(entry.offset)", tensor: entry.name)
      }
      end = entry.offset + entry.byteCount
      guard let item = itemOfName[entry.name], try Self.isPlanned(entry, for: item) else {
        throw ModelError.malformed("the plan is for another tensor", tensor: entry.name)
      }
      return RecordMaker(item: item, lossless: LosslessEncoding(plannedFor: entry))
    }
    self.header = header
  }

  private static func isPlanned(_ entry: PackedEntry, for item: PackedItem) throws -> Bool {
    guard entry.elementType == item.source.elementType, entry.shape == item.source.shape else {
      return false
    }
    switch (item.action, entry.encoding) {
    case (.quantize(let affine, _, _), .affine(let planned)):
      return try affine == planned && entry.encodedByteCount() == entry.byteCount
    case (.keep, .affine), (.quantize, _): return false
    case (.keep, _): return true
    }
  }

  /// Plans a file that keeps every tensor of `archive` bit for bit.
  package init(losslessly archive: TensorArchive) throws {
    var header = PackedHeader(producer: Producer.current)
    header.values = archive.values
    header.metadata = archive.metadata
    header.activations = archive.activations
    try self.init(
      header: header,
      items: archive.tensors.map {
        PackedItem(name: $0.key, role: .parameter, source: $0.value, action: .keep)
      })
  }

  private static func entry(for item: PackedItem, _ lossless: LosslessEncoding?) throws
    -> PackedEntry
  {
    var entry = PackedEntry(
      name: item.name, elementType: item.source.elementType, shape: item.source.shape,
      role: item.role, encoding: .raw, inflatedByteCount: nil, offset: 0, byteCount: 0,
      checksum: 0)
    switch item.action {
    case .keep:
      guard let lossless else { preconditionFailure("every kept tensor has an encoding") }
      entry.encoding = lossless.encoding
      entry.inflatedByteCount = lossless.inflatedByteCount
      entry.byteCount = lossless.byteCount
    case .quantize(let affine, _, _):
      entry.encoding = .affine(affine)
      entry.byteCount = try locatingErrors(tensor: item.name) { try entry.encodedByteCount() }
    }
    return entry
  }

  /// Bytes of the file up to the header: known before any record is made.
  package var headerOffset: Int {
    header.entries.last.map { $0.offset + $0.byteCount } ?? PackedPrologue.byteCount
  }

  /// Makes every record, puts it in its place, and seals the file with the header and prologue.
  ///
  /// - Parameters:
  ///   - writer: an empty output, which the caller finishes.
  ///   - run: runs the making of the records, in any order; the bytes do not depend on it.
  ///   - progress: called with the name and source bytes of each record done, from any thread.
  /// - Returns: how small the file became.
  /// - Throws: `ModelError` on reading and writing.
  @discardableResult
  public func write(
    to writer: inout AtomicFileWriter, runningTasks run: TaskRunner = sequentially,
    progress: WriteProgress? = nil
  ) throws -> PackedSummary {
    try write(to: &writer, expecting: nil, runningTasks: run, progress: progress)
  }

  /// Makes every record, puts it in its place, and seals the file with the header and prologue.
  ///
  /// - Parameter proof: what is known of the file, for one that is made again.
  /// - Returns: how small the file became.
  /// - Throws: `ModelError` on reading and writing, and when the file is not what `proof` says.
  package func write(
    to writer: inout AtomicFileWriter, expecting proof: PackedHeaderProof?,
    runningTasks run: TaskRunner, progress: WriteProgress?
  ) throws -> PackedSummary {
    try writer.preallocate(byteCount: headerOffset)
    let placement = writer.placement
    let records = records
    let checksums = Mutex([UInt32](repeating: 0, count: records.count))
    let order = largestFirst
    try run(records.count) { position in
      let index = order[position]
      let bytes = try record(at: index)
      try placement.write(bytes, at: records[index].offset)
      let checksum = CRC32.checksum(bytes)
      checksums.withLock { $0[index] = checksum }
      progress?(records[index].name, records[index].sourceByteCount)
    }
    let seal = try seal(checksums: checksums.withLock { $0 })
    try proof?.check(seal.prologue)
    try placement.write(seal.header, at: headerOffset)
    try placement.write(SharedBytes(seal.prologue.bytes), at: 0)
    return PackedSummary(header, fileByteCount: seal.prologue.fileByteCount)
  }

  /// The record of the entry at `index`, made from its source.
  public func record(at index: Int) throws -> SharedBytes {
    let entry = header.entries[index]
    let bytes = try locatingErrors(tensor: entry.name) { try makers[index].bytes() }
    guard bytes.count == entry.byteCount else {
      throw ModelError(
        .truncated(
          expectedBytes: entry.byteCount, foundBytes: bytes.count, purpose: "its planned record"),
        tensor: entry.name)
    }
    return bytes
  }

  /// What makes the records a file: the header, as text and as stored, and the prologue.
  struct Seal {
    let text: String
    let header: SharedBytes
    let prologue: PackedPrologue
  }

  /// - Parameter checksums: of every record.
  func seal(checksums: [UInt32]) throws -> Seal {
    var sealed = header
    for (index, checksum) in checksums.enumerated() { sealed.entries[index].checksum = checksum }
    let text = sealed.json.serialized()
    let bytes = SharedBytes(text.utf8)
    guard bytes.count <= PackedPrologue.headerLimit else {
      throw ModelError(
        .limitExceeded(
          what: "a header's length in bytes", limit: PackedPrologue.headerLimit,
          found: "\(bytes.count)"))
    }
    let stored = SharedBytes(Zlib.compress(bytes))
    return Seal(
      text: text, header: stored,
      prologue: PackedPrologue(
        headerOffset: headerOffset, headerByteCount: stored.count,
        inflatedHeaderByteCount: bytes.count, headerChecksum: CRC32.checksum(stored)))
  }
}

extension PackedWriter.RecordMaker {
  fileprivate func bytes() throws -> SharedBytes {
    switch item.action {
    case .keep:
      guard let lossless else { preconditionFailure("every kept tensor has an encoding") }
      return try lossless.record(of: item.source)
    case .quantize(let affine, _, let quantize):
      let quantized = try quantize()
      guard quantized.layout == affine.layout, quantized.bitWidth == affine.bitWidth,
        quantized.parameterType == affine.parameterType, quantized.shape == item.source.shape
      else {
        throw ModelError.malformed("it was quantized otherwise than planned")
      }
      return SharedBytes(joining: [quantized.parameterBytes, quantized.codes])
    }
  }
}

extension PackedWriter {
  /// About how many bytes the header will take in the file.
  ///
  /// Checksums are not known before the records are; as good as random numbers, other random numbers
  /// compress like them.
  package var estimatedHeaderByteCount: Int {
    var planned = header
    for index in planned.entries.indices {
      planned.entries[index].checksum =
        UInt32(truncatingIfNeeded: index &+ 1) &* 0x9E37_79B9 ^ 0x85EB_CA6B
    }
    return Zlib.compress(SharedBytes(planned.json.serialized().utf8)).count
  }
}

extension PackedWriter: PlacedFile {
  package var recordsEnd: Int { headerOffset }

  package var records: [PlacedRecord] {
    var names = [[String]](repeating: [], count: header.entries.count)
    for (name, index) in header.names { names[index].append(name) }
    return header.entries.indices.map { index in
      let entry = header.entries[index]
      return PlacedRecord(
        name: entry.name, names: names[index], offset: entry.offset, byteCount: entry.byteCount,
        sourceByteCount: entry.elementType.byteCount(forElements: entry.shape.elementCount)
          ?? entry.byteCount)
    }
  }

  package func pieces(checksums: [UInt32]) throws -> [PlacedPiece] {
    let seal = try seal(checksums: checksums)
    return [
      PlacedPiece(offset: headerOffset, bytes: seal.header),
      PlacedPiece(offset: 0, bytes: SharedBytes(seal.prologue.bytes)),
    ]
  }

  /// How small the file is, once it is sealed.
  package func summary(fileByteCount: Int) -> PackedSummary {
    PackedSummary(header, fileByteCount: fileByteCount)
  }
}

/// Room for records that were compressed to learn their lengths, until they are written: compressing
/// takes longer than all else that is done to a tensor that is kept.
final class PlannedRecords: Sendable {
  /// Bytes that are in memory at once, at most; what finds no room is compressed again.
  static let limit = 256 << 20
  private let room: Mutex<Int>

  init(limit: Int = PlannedRecords.limit) {
    room = Mutex(limit)
  }

  /// A record that waits to be written.
  final class Record: Sendable {
    private let bytes: Mutex<SharedBytes?>
    private let planned: PlannedRecords

    fileprivate init(_ bytes: SharedBytes, of planned: PlannedRecords) {
      self.bytes = Mutex(bytes)
      self.planned = planned
    }

    /// The record, for the first one that asks.
    func take() -> SharedBytes? {
      bytes.withLock { bytes in
        defer { bytes = nil }
        if let bytes { planned.room.withLock { $0 += bytes.count } }
        return bytes
      }
    }
  }

  /// - Returns: `nil` when there is no room.
  func keep(_ bytes: [UInt8]) -> Record? {
    let isRoom = room.withLock { room in
      guard bytes.count <= room else { return false }
      room -= bytes.count
      return true
    }
    return isRoom ? Record(SharedBytes(bytes), of: self) : nil
  }
}
