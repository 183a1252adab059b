import OrderedCollections
import Storage
import Synchronization

/// The plan of a packed file: every length and offset is known before any record is made.
///
/// `Cost` describes the cost of quantizing a tensor; it is `Never` if every tensor keeps its bits.
///
/// ```swift
/// let items = archive.tensors.map {
///   PackedItem<Never>(name: $0, role: .parameter, source: $1, action: .keep)
/// }
/// let plan = try PackedPlan(header: PackedHeader(producer: "example"), items: items)
/// try plan.file.write(to: "model.condi")
/// ```
package struct PackedPlan<Cost: Sendable>: Sendable {
  /// The header with all entries; checksums are filled in once the records are made.
  package let header: PackedHeader
  /// The records, one per entry of the header; the header and the prologue seal the file.
  package let file: PlannedFile<Cost>

  /// Plans the file: finds identical tensors, the lossless encoding of each kept tensor, and the
  /// offset of every record.
  ///
  /// - Parameters:
  ///   - header: everything but the tensors.
  ///   - items: the tensors in the archive's order; names are distinct.
  ///   - run: searches for encodings, one task per kept tensor.
  /// - Throws: `ModelError` when two items have the same name or a tensor cannot be read.
  package init(
    header: PackedHeader, items: [PackedItem<Cost>], runningTasks run: TaskRunner = sequentially
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
    var makers: [RecordMaker<Cost>] = []
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
    self.init(planned, makers)
  }

  /// Restores an earlier plan, perhaps of another process.
  ///
  /// - Parameters:
  ///   - header: the plan's header.
  ///   - items: the tensors, including all that have an entry.
  /// - Throws: `ModelError` when the plan is invalid or was made for other items.
  package init(planned header: PackedHeader, items: [PackedItem<Cost>]) throws {
    let itemOfName = Dictionary(items.map { ($0.name, $0) }) { first, _ in first }
    var end = PackedPrologue.byteCount
    let makers = try header.entries.map { entry in
      guard entry.offset == PackedEntry.offset(after: end, byteCount: entry.byteCount) else {
        throw ModelError.mismatch(
          expected: "a record after \(end)", found: "\(entry.offset)", tensor: entry.name)
      }
      let (next, overflow) = entry.offset.addingReportingOverflow(entry.byteCount)
      guard !overflow else {
        throw ModelError.malformed("the plan's record is too long", tensor: entry.name)
      }
      end = next
      guard let item = itemOfName[entry.name], try Self.isPlanned(entry, for: item) else {
        throw ModelError.malformed("the plan is for another tensor", tensor: entry.name)
      }
      return RecordMaker(item: item, lossless: LosslessEncoding(plannedFor: entry))
    }
    self.init(header, makers)
  }

  /// - Parameter makers: one per entry.
  private init(_ header: PackedHeader, _ makers: [RecordMaker<Cost>]) {
    self.header = header
    var names = [[String]](repeating: [], count: header.entries.count)
    for (name, index) in header.names { names[index].append(name) }
    let records = header.entries.indices.map { index in
      let entry = header.entries[index]
      return PlannedRecord(
        name: entry.name, names: names[index], offset: entry.offset, byteCount: entry.byteCount,
        sourceByteCount: entry.elementType.byteCount(forElements: entry.shape.elementCount)
          ?? entry.byteCount, making: makers[index].record)
    }
    file = PlannedFile(records, recordsEnd: header.recordsEnd) { results in
      let seal = try header.seal(checksums: results.map(\.checksum))
      return [
        FilePiece(offset: header.recordsEnd, bytes: seal.header),
        FilePiece(offset: 0, bytes: SharedBytes(seal.prologue.bytes)),
      ]
    }
  }

  private static func isPlanned(_ entry: PackedEntry, for item: PackedItem<Cost>) throws -> Bool {
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

  private static func entry(for item: PackedItem<Cost>, _ lossless: LosslessEncoding?) throws
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

  /// Returns the file; sealing it throws when its prologue differs from the one in `proof`.
  package func file(expecting proof: PackedHeaderProof?) -> PlannedFile<Cost> {
    guard let proof else { return file }
    return PlannedFile(file.records, recordsEnd: file.recordsEnd) { [header, file] results in
      try proof.check(header.seal(checksums: results.map(\.checksum)).prologue)
      return try file.pieces(sealing: results)
    }
  }

  /// The approximate length of the header in the file.
  ///
  /// Checksums are not known before the records are made; other random numbers compress like them.
  package var estimatedHeaderByteCount: Int {
    var planned = header
    for index in planned.entries.indices {
      planned.entries[index].checksum =
        UInt32(truncatingIfNeeded: index &+ 1) &* 0x9E37_79B9 ^ 0x85EB_CA6B
    }
    return Zlib.compress(SharedBytes(planned.json.serialized().utf8)).count
  }
}

extension PackedPlan where Cost == Never {
  /// Plans a file that keeps every tensor of `archive` bit for bit.
  package init(
    losslessly archive: TensorArchive, runningTasks run: TaskRunner = sequentially
  ) throws {
    var header = PackedHeader(producer: Producer.current)
    header.values = archive.values
    header.metadata = archive.metadata
    header.activations = archive.activations
    try self.init(
      header: header,
      items: archive.tensors.map {
        PackedItem(name: $0.key, role: .parameter, source: $0.value, action: .keep)
      }, runningTasks: run)
  }
}

/// Makes the record of one item.
private struct RecordMaker<Cost: Sendable>: Sendable {
  let item: PackedItem<Cost>
  let lossless: LosslessEncoding?

  func record() throws -> MadeRecord<Cost> {
    switch item.action {
    case .keep:
      guard let lossless else { preconditionFailure("every kept tensor has an encoding") }
      return MadeRecord(try lossless.record(of: item.source))
    case .quantize(let affine, _, let quantize):
      let (quantized, cost) = try quantize()
      guard quantized.spec == affine, quantized.shape == item.source.shape else {
        throw ModelError.malformed("it was not quantized as planned")
      }
      return MadeRecord(
        SharedBytes(joining: [quantized.parameterBytes, quantized.codes]), cost: cost)
    }
  }
}

extension PackedHeader {
  /// The offset at which the records end and the header begins.
  package var recordsEnd: Int {
    entries.last.map { $0.offset + $0.byteCount } ?? PackedPrologue.byteCount
  }

  /// The parts that complete the file: the header, as text and as stored, and the prologue.
  struct Seal {
    let text: String
    let header: SharedBytes
    let prologue: PackedPrologue
  }

  /// - Parameter checksums: one per record.
  /// - Throws: `ModelError` when the header exceeds the limit of its length.
  func seal(checksums: [UInt32]) throws -> Seal {
    var sealed = self
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
        headerOffset: recordsEnd, headerByteCount: stored.count,
        inflatedHeaderByteCount: bytes.count, headerChecksum: CRC32.checksum(stored)))
  }
}

/// A cache of records that were compressed to learn their lengths, until they are written:
/// compressing takes longer than all other work on a kept tensor.
final class PlannedRecords: Sendable {
  /// The most bytes in memory at once; records that find no room are compressed again.
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

    /// Returns the record to the first caller, and `nil` to all others.
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
