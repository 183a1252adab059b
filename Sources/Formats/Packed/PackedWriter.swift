import OrderedCollections
import Synchronization

/// Writes a packed file in two steps: a plan that fixes every length and place, then the records,
/// in any order and on any number of threads, with the same bytes as the result.
public struct PackedWriter: Sendable {
  /// The header with every entry in place; checksums are filled in by `write`.
  public let header: PackedHeader
  /// How each entry's record is made.
  private let records: [Record]

  fileprivate struct Record: Sendable {
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
    try run(kept.count) { position in
      let index = kept[position]
      guard case .keep = items[index].action else { return }
      let encoding = try locatingErrors(tensor: items[index].name) {
        try LosslessEncoding(choosingFor: items[index].source)
      }
      encodings.withLock { $0[index] = encoding }
    }

    var planned = header
    var records: [Record] = []
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
      records.append(Record(item: item, lossless: chosen[index]))
    }
    self.header = planned
    self.records = records
  }

  /// Plans a file that keeps every tensor of `archive` bit for bit.
  public init(losslessly archive: TensorArchive) throws {
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
  public var headerOffset: Int {
    header.entries.last.map { $0.offset + $0.byteCount } ?? PackedPrologue.byteCount
  }

  /// Makes every record, puts it in its place, and seals the file with the header and prologue.
  public func write(
    to writer: inout AtomicFileWriter, runningTasks run: TaskRunner = sequentially,
    progress: WriteProgress? = nil
  ) throws {
    try writer.preallocate(byteCount: headerOffset)
    let placement = writer.placement
    let checksums = Mutex([UInt32](repeating: 0, count: records.count))
    // Largest first, so that no thread is left with a long record at the end.
    let order = records.indices.sorted {
      let (left, right) = (records[$0].item.source, records[$1].item.source)
      return (left.byteCount, $1) > (right.byteCount, $0)
    }
    try run(records.count) { position in
      let index = order[position]
      let (entry, record) = (header.entries[index], records[index])
      let bytes = try locatingErrors(tensor: entry.name) { try record.bytes() }
      guard bytes.count == entry.byteCount else {
        throw FormatError(
          .truncated(
            expectedBytes: entry.byteCount, foundBytes: bytes.count, purpose: "its planned record"),
          tensor: entry.name)
      }
      try placement.write(bytes, at: entry.offset)
      let checksum = CRC32.checksum(bytes)
      checksums.withLock { $0[index] = checksum }
      progress?(entry.name, record.item.source.byteCount)
    }
    try seal(placement, checksums: checksums.withLock { $0 })
  }

  private func seal(_ placement: FilePlacement, checksums: [UInt32]) throws {
    var sealed = header
    for (index, checksum) in checksums.enumerated() { sealed.entries[index].checksum = checksum }
    let text = SharedBytes(sealed.json.serialized().utf8)
    guard text.count <= PackedPrologue.headerLimit else {
      throw FormatError(
        .limitExceeded(
          what: "a header's length in bytes", limit: PackedPrologue.headerLimit,
          found: "\(text.count)"))
    }
    let stored = SharedBytes(Zlib.compress(text))
    let prologue = PackedPrologue(
      headerOffset: headerOffset, headerByteCount: stored.count,
      inflatedHeaderByteCount: text.count, headerChecksum: CRC32.checksum(stored))
    try placement.write(stored, at: headerOffset)
    try placement.write(SharedBytes(prologue.bytes), at: 0)
  }
}

extension PackedWriter.Record {
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
