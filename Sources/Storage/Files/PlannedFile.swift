/// A file planned record by record before any of its bytes are made.
///
/// Every writable format describes its file as such a plan, and `PlannedFileWriter` executes it.
/// Threads, jobs and ranks can make records in any order; the bytes of the file are always the
/// same.
///
/// `Cost` describes what making a record lost, such as its tensor's rounding error; it is `Never`
/// when every bit is kept.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// let file = try SafetensorsFormat().plan(archive)
/// print(file.records.map(\.name), file.byteCountLimit)
/// try file.write(to: "model.safetensors")
/// ```
public struct PlannedFile<Cost: Sendable>: Sendable {
  /// The records, in the order of the file.
  public let records: [PlannedRecord<Cost>]
  /// Whether records may turn out shorter than planned. Each then begins where the one before it
  /// ended, after the planned gap.
  package let isFlowing: Bool
  /// The end of the last record and its padding: exact unless the file is flowing.
  package let recordsEnd: Int
  /// Bytes of the file that are known in advance: the least that it takes.
  package let knownByteCount: Int
  /// Makes everything before, between and after the records.
  private let seal: @Sendable ([RecordResult<Cost>]) throws -> [FilePiece]

  /// Creates a plan.
  ///
  /// - Parameters:
  ///   - records: in the order of the file, without overlap.
  ///   - isFlowing: whether lengths and offsets of the records are upper bounds.
  ///   - recordsEnd: the end of the records; by default that of the last one.
  ///   - knownByteCount: what is known of the file's length; by default the end of the records.
  ///   - seal: makes the rest of the file from the results of all records, in their order.
  package init(
    _ records: [PlannedRecord<Cost>], isFlowing: Bool = false, recordsEnd: Int? = nil,
    knownByteCount: Int? = nil,
    sealing seal: @escaping @Sendable ([RecordResult<Cost>]) throws -> [FilePiece]
  ) {
    self.records = records
    self.isFlowing = isFlowing
    let end = recordsEnd ?? records.last.map { $0.offset + $0.byteCount } ?? 0
    self.recordsEnd = end
    self.knownByteCount = knownByteCount ?? (isFlowing ? 0 : end)
    self.seal = seal
  }

  /// Bytes of the file up to the end of its records, at most.
  public var byteCountLimit: Int { recordsEnd }

  /// Makes the record at `index`.
  ///
  /// - Throws: `ModelError` when its source cannot be read or its length is not the planned one.
  package func record(at index: Int) throws -> MadeRecord<Cost> {
    let record = records[index]
    return try locatingErrors(
      tensor: record.entry == nil ? record.names.first : nil, entry: record.entry
    ) {
      let made = try record.make()
      let count = made.bytes.count
      guard count == record.byteCount || isFlowing && count < record.byteCount else {
        throw ModelError(
          .truncated(
            expectedBytes: record.byteCount, foundBytes: count, purpose: "its planned record"))
      }
      return made
    }
  }

  /// The number of the records at `indices` that hold tensors; an archive has others besides.
  package func tensorRecordCount(of indices: some Sequence<Int>) -> Int {
    indices.count { !records[$0].names.isEmpty }
  }

  /// Returns the pieces before, between and after the records.
  ///
  /// - Parameter results: one per record, in the order of the records.
  package func pieces(sealing results: [RecordResult<Cost>]) throws -> [FilePiece] {
    try seal(results)
  }

  /// The records' indices by decreasing source bytes, so that no worker is left with a long record
  /// at the end.
  package var largestFirst: [Int] {
    let sizes = records.map(\.sourceByteCount)
    return sizes.indices.sorted { (sizes[$0], $1) > (sizes[$1], $0) }
  }
}

extension PlannedFile where Cost == Never {
  /// Returns the same file for a writer of files whose records may have a cost.
  package func withCost<Other: Sendable>(of type: Other.Type = Other.self) -> PlannedFile<Other> {
    PlannedFile<Other>(
      records.map { record in
        PlannedRecord<Other>(
          name: record.name, names: record.names, entry: record.entry, offset: record.offset,
          byteCount: record.byteCount, sourceByteCount: record.sourceByteCount
        ) {
          let made = try record.make()
          return MadeRecord(made.bytes, contentChecksum: made.contentChecksum)
        }
      }, isFlowing: isFlowing, recordsEnd: recordsEnd, knownByteCount: knownByteCount
    ) { results in
      try seal(results.map { $0.withCost(nil) })
    }
  }
}

/// One record of a planned file.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// for record in try SafetensorsFormat().plan(archive).records {
///   print("\(record.name): \(record.byteCount) bytes from byte \(record.offset)")
/// }
/// ```
public struct PlannedRecord<Cost: Sendable>: Sendable {
  /// The first of `names`, or a description of a record that holds no tensor.
  public let name: String
  /// Every tensor whose content the record holds.
  public let names: [String]
  /// The name of the record in an archive's directory; `nil` in other files.
  package let entry: String?
  /// The record's offset in the file.
  public let offset: Int
  /// The record's length in the file.
  public let byteCount: Int
  /// The number of bytes read to make the record.
  public let sourceByteCount: Int
  fileprivate let make: @Sendable () throws -> MadeRecord<Cost>

  package init(
    name: String, names: [String], entry: String? = nil, offset: Int, byteCount: Int,
    sourceByteCount: Int, making make: @escaping @Sendable () throws -> MadeRecord<Cost>
  ) {
    self.name = name
    self.names = names
    self.entry = entry
    self.offset = offset
    self.byteCount = byteCount
    self.sourceByteCount = sourceByteCount
    self.make = make
  }
}

/// A record's bytes and the cost of making them.
package struct MadeRecord<Cost: Sendable>: Sendable {
  package let bytes: SharedBytes
  package let cost: Cost?
  /// CRC-32 of the content that `bytes` hold compressed; `nil` if they are the content.
  package let contentChecksum: UInt32?

  package init(_ bytes: SharedBytes, cost: Cost? = nil, contentChecksum: UInt32? = nil) {
    self.bytes = bytes
    self.cost = cost
    self.contentChecksum = contentChecksum
  }
}

/// A written record, as remembered once its bytes are gone.
package struct RecordResult<Cost: Sendable>: Sendable {
  /// The record's index in the file.
  package let index: Int
  package let offset: Int
  package let byteCount: Int
  /// CRC-32 of the record as it lies in the file.
  package let checksum: UInt32
  /// CRC-32 of the record's content before compression.
  package let contentChecksum: UInt32
  package let cost: Cost?

  package init(
    index: Int, offset: Int, byteCount: Int, checksum: UInt32, contentChecksum: UInt32? = nil,
    cost: Cost?
  ) {
    self.index = index
    self.offset = offset
    self.byteCount = byteCount
    self.checksum = checksum
    self.contentChecksum = contentChecksum ?? checksum
    self.cost = cost
  }

  fileprivate func withCost<Other: Sendable>(_ cost: Other?) -> RecordResult<Other> {
    RecordResult<Other>(
      index: index, offset: offset, byteCount: byteCount, checksum: checksum,
      contentChecksum: contentChecksum, cost: cost)
  }
}

extension RecordResult: Codable where Cost: Codable {}

/// Bytes with their place in a file.
package struct FilePiece: Sendable {
  package let offset: Int
  package let bytes: SharedBytes

  package init(offset: Int, bytes: SharedBytes) {
    self.offset = offset
    self.bytes = bytes
  }
}
