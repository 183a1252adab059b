import OrderedCollections
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

  /// Runs a number of independent tasks, in any order, and throws the first error by index.
  public typealias TaskRunner = (
    _ count: Int, _ task: @escaping @Sendable (Int) throws -> Void
  ) throws -> Void

  /// One task after the other.
  public static let sequentially: @Sendable (Int, @Sendable (Int) throws -> Void) throws -> Void = {
    count, task in
    for index in 0..<count { try task(index) }
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
        throw FormatError.malformed("two tensors have this name", tensor: item.name)
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
  /// - Throws: `FormatError` when the plan is not one for these items, or no plan at all.
  package init(planned header: PackedHeader, items: [PackedItem]) throws {
    let itemOfName = Dictionary(items.map { ($0.name, $0) }) { first, _ in first }
    var end = PackedPrologue.byteCount
    makers = try header.entries.map { entry in
      guard entry.offset == PackedEntry.offset(after: end, byteCount: entry.byteCount) else {
        throw FormatError.mismatch(
          expected: "a record after \(end)", found: "\(entry.offset)", tensor: entry.name)
      }
      end = entry.offset + entry.byteCount
      guard let item = itemOfName[entry.name], try Self.isPlanned(entry, for: item) else {
        throw FormatError.malformed("the plan is for another tensor", tensor: entry.name)
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
  /// - Throws: `FormatError` on reading and writing.
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
  /// - Throws: `FormatError` on reading and writing, and when the file is not what `proof` says.
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
      throw FormatError(
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
      throw FormatError(
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
        throw FormatError.malformed("it was quantized otherwise than planned")
      }
      let parameters = quantized.parameterBytes
      return SharedBytes(count: parameters.count + quantized.codes.count) { output in
        parameters.withUnsafeBytes { output.copyBytes(from: $0) }
        quantized.codes.withUnsafeBytes { output[parameters.count...].copyBytes(from: $0) }
      }
    }
  }
}
