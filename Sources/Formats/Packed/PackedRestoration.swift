import Storage
import Synchronization

/// How each damaged part of a packed file can be had back, as far as the file's checksums prove it.
///
/// The header holds every record's checksum, the prologue that of the header, and the header's end
/// and records determine the prologue. So a part that was made anew is known to be the original one,
/// and nothing else is ever called restored. Without a header nothing proves anything here: only
/// packing the source again can help, and the prologue's checksum of the header can confirm it.
package struct PackedRestoration: Sendable {
  /// Where the bytes come from.
  package enum Method: String, Hashable, Sendable, Codable {
    /// Padding is zero.
    case zeros
    /// The prologue follows from the header.
    case header
    /// What follows the end is left out.
    case cut
    /// The record was made again from the reference: encoded, or quantized by the header's recipe.
    case reference
  }

  /// A damaged part and what can be done about it.
  package struct Part: Sendable {
    /// What was damaged.
    package let fault: PackedFault
    /// `nil` when it cannot be restored.
    package let method: Method?
    /// Why it cannot be restored; `nil` when it can.
    package let obstacle: String?
    /// What belongs at the fault's offset.
    fileprivate let bytes: SharedBytes
  }

  /// Makes the record of an entry anew.
  package typealias RecordMaker = @Sendable (PackedEntry) throws -> SharedBytes

  /// In file order, one a fault.
  package let parts: [Part]
  private let content: InputFile

  /// Whether every part can be restored.
  package var isComplete: Bool { parts.allSatisfy { $0.method != nil } }

  /// Finds for each fault of `examination` where its right bytes can be had; nothing is written.
  ///
  /// - Parameters:
  ///   - make: makes records anew from a reference; what it throws for a record is the obstacle.
  ///   - run: runs one task a damaged part.
  package init(
    of examination: PackedExamination, makingRecords make: @escaping RecordMaker,
    runningTasks run: TaskRunner = sequentially
  ) throws {
    let faults = examination.faults
    let parts = Mutex([Part?](repeating: nil, count: faults.count))
    try run(faults.count) { index in
      let part = Self.part(faults[index], of: examination, make)
      parts.withLock { $0[index] = part }
    }
    self.parts = parts.withLock { $0.compactMap { $0 } }
    content = examination.content
  }

  private static func part(
    _ fault: PackedFault, of examination: PackedExamination, _ make: RecordMaker
  ) -> Part {
    func restored(_ method: Method, _ bytes: SharedBytes) -> Part {
      Part(fault: fault, method: method, obstacle: nil, bytes: bytes)
    }
    func lost(_ obstacle: String) -> Part {
      Part(fault: fault, method: nil, obstacle: obstacle, bytes: SharedBytes())
    }
    guard let model = examination.model else {
      return lost("the header, which would tell what belongs here, cannot be read")
    }
    switch fault.region {
    case .padding: return restored(.zeros, SharedBytes(count: fault.byteCount) { _ in })
    case .end: return restored(.cut, SharedBytes())
    case .header: return lost("nothing else in the file says what the header was")
    case .prologue:
      guard let prologue = examination.prologue else {
        return lost("the header does not say which minor version the prologue named")
      }
      return restored(.header, SharedBytes(prologue.bytes))
    case .record:
      guard !fault.hasRightChecksum else {
        return lost("its checksum is right: it was written like this")
      }
      guard let entry = fault.tensor.flatMap(model.entry) else { return lost("it has no entry") }
      do {
        let record = try make(entry)
        guard record.count == entry.byteCount, CRC32.checksum(record) == entry.checksum else {
          return lost("what the reference gives has not the checksum that the header says")
        }
        return restored(.reference, record)
      } catch {
        return lost(
          "the reference does not give it: \((error as? ModelError)?.reason ?? "\(error)")")
      }
    }
  }

  /// Plans the file with every damaged part restored.
  ///
  /// - Throws: `ModelError` that names the first part that cannot be.
  package func plan() throws -> PlannedFile<Never> {
    if let part = parts.first(where: { $0.method == nil }) {
      throw ModelError.malformed(
        "cannot be restored: \(part.obstacle ?? "")", path: content.path,
        tensor: part.fault.tensor, entry: part.fault.region.rawValue,
        offset: part.fault.offset)
    }
    var records: [PlannedRecord<Never>] = []
    func add(_ offset: Int, _ count: Int, _ bytes: @escaping @Sendable () throws -> SharedBytes) {
      guard count > 0 else { return }
      records.append(
        PlannedRecord(
          name: "a copy", names: [], offset: offset, byteCount: count, sourceByteCount: count
        ) { MadeRecord(try bytes()) })
    }
    let pieceByteCount = 1 << 23
    func copy(_ range: Range<Int>) {
      for start in stride(from: range.lowerBound, to: range.upperBound, by: pieceByteCount) {
        let count = min(pieceByteCount, range.upperBound - start)
        add(start, count) { [content] in
          try content.bytes(at: start, count: count, purpose: "a copy")
        }
      }
    }
    var end = 0
    for part in parts.sorted(by: { $0.fault.offset < $1.fault.offset }) {
      copy(end..<max(end, part.fault.offset))
      add(part.fault.offset, part.bytes.count) { part.bytes }
      end = max(end, part.fault.offset + part.bytes.count)
    }
    copy(end..<max(end, content.byteCount))
    return PlannedFile(records) { _ in [] }
  }
}

extension ModelError {
  /// The problem with its place but without the file, for a sentence about another file.
  fileprivate var reason: String {
    var error = self
    error.path = nil
    return error.description
  }
}
