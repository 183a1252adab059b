import Storage
import Synchronization

/// How each damaged part of a packed file can be restored, as far as the file's checksums prove it.
///
/// The header holds every record's checksum, the prologue holds that of the header, and the
/// header's end and records determine the prologue. A rebuilt part is therefore known to be the
/// original one, and nothing else is ever called restored. Without a header nothing can be proved
/// here: only packing the source again can help, and the header's checksum in the prologue can
/// confirm it.
package struct PackedRestoration: Sendable {
  /// The origin of the restored bytes.
  package enum Method: String, Hashable, Sendable, Codable {
    /// Padding is zero.
    case zeros
    /// The prologue follows from the header.
    case header
    /// Bytes after the end are left out.
    case cut
    /// The record was made again from the reference, encoded or quantized by the header's recipe.
    case reference
  }

  /// A damaged part and how it can be restored.
  package struct Part: Sendable {
    /// The damage.
    package let fault: PackedFault
    /// `nil` when it cannot be restored.
    package let method: Method?
    /// Why it cannot be restored; `nil` when it can.
    package let obstacle: String?
    /// The bytes that belong at the fault's offset.
    fileprivate let bytes: SharedBytes
  }

  /// A closure that makes the record of an entry anew.
  package typealias RecordMaker = @Sendable (PackedEntry) throws -> SharedBytes

  /// The parts in file order, one per fault.
  package let parts: [Part]
  private let content: InputFile

  /// Whether every part can be restored.
  package var isComplete: Bool { parts.allSatisfy { $0.method != nil } }

  /// Finds a source of the right bytes for each fault of `examination`, without writing anything.
  ///
  /// - Parameters:
  ///   - make: makes records anew from a reference; its error for a record is the obstacle.
  ///   - run: runs one task per damaged part.
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
    case .header: return lost("nothing else in the file determines the header")
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
          return lost("the record made from the reference does not have the checksum in the header")
        }
        return restored(.reference, record)
      } catch {
        return lost(
          "the record cannot be made from the reference: "
            + ((error as? ModelError)?.reason ?? "\(error)"))
      }
    }
  }

  /// Plans the file with every damaged part restored.
  ///
  /// - Throws: `ModelError` that names the first part that cannot be restored.
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
  /// The error's description without its path, for a sentence about another file.
  fileprivate var reason: String {
    var error = self
    error.path = nil
    return error.description
  }
}
