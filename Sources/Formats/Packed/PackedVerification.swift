import Storage
import Synchronization

extension PackedModel {
  /// Checks the bytes that opening does not: records' checksums and contents, and padding.
  ///
  /// Opening the file has already checked the prologue, the header, and the records' offsets, so
  /// together they cover every byte of the file. `PackedExamination` does both.
  ///
  /// - Parameter map: checks the records, on several threads or ranks if need be.
  /// - Returns: the faults in file order; empty if the file is whole.
  package func verifyRecords(mappingChecks map: CheckMap = checkingInOrder) throws -> [PackedFault]
  {
    let entries = header.entries
    // The longest first, so that no thread is left with it at the end.
    let order = entries.indices.sorted { (entries[$1].byteCount, $0) < (entries[$0].byteCount, $1) }
    let found = try map(order.count) { position in
      let index = order[position]
      return faultsOfPadding(before: index) + faultsOfRecord(entries[index])
    }
    var faults = [[PackedFault]](repeating: [], count: entries.count)
    for (position, index) in order.enumerated() { faults[index] = found[position] }
    return faults.flatMap { $0 }
  }

  /// A closure that runs independent checks in any order and returns their results by index.
  public typealias CheckMap = (
    _ count: Int, _ check: @escaping @Sendable (Int) throws -> [PackedFault]
  ) throws -> [[PackedFault]]

  /// Runs one check after the other.
  public static let checkingInOrder:
    @Sendable (Int, @Sendable (Int) throws -> [PackedFault]) throws -> [[PackedFault]] = {
      count, check in try (0..<count).map(check)
    }

  private func faultsOfPadding(before index: Int) -> [PackedFault] {
    func fault(_ offset: Int, _ byteCount: Int, _ message: String) -> [PackedFault] {
      [PackedFault(.padding, offset: offset, byteCount: byteCount, message: message)]
    }
    let end = header.entries[index].offset
    do {
      let padding = try padding(before: index)
      guard let position = padding.bytes.array.firstIndex(where: { $0 != 0 }) else { return [] }
      let start = padding.offset + position
      return fault(start, end - start, "padding is not zero")
    } catch let error as ModelError {
      return fault(error.offset ?? end, 0, "\(error.problem)")
    } catch {
      return fault(end, 0, "\(error)")
    }
  }

  private func faultsOfRecord(_ entry: PackedEntry) -> [PackedFault] {
    func fault(_ message: String, _ isIntact: Bool) -> [PackedFault] {
      [
        PackedFault(
          .record, tensor: entry.name, offset: entry.offset, byteCount: entry.byteCount,
          message: message, hasRightChecksum: isIntact)
      ]
    }
    var isIntact = false
    do {
      if entry.encoding == .raw, entry.inflatedByteCount == nil {
        // Any bytes are valid elements, so only the checksum needs them, and never all at once.
        try checkChecksum(of: entry)
        return []
      }
      let record = try record(of: entry)
      isIntact = true
      // Decoding checks codes, indices, parameters and unused bits.
      if case .affine(let affine) = entry.encoding {
        _ = try entry.quantizedTensor(of: record, affine)
      } else {
        _ = try entry.elements(of: record)
      }
      return []
    } catch let error as ModelError {
      return fault("\(error.problem)", isIntact)
    } catch {
      return fault("\(error)", isIntact)
    }
  }
}

/// A part of a packed file that differs from the result of packing its source again.
package struct PackedDeviation: Hashable, Sendable {
  /// The part of the file.
  package let region: PackedRegion
  /// The tensor concerned; `nil` outside records.
  package let tensor: String?
  /// The offset of the difference in the file.
  package let offset: Int
  /// A lower-case sentence that says what differs.
  package let message: String
}

extension PackedPlan {
  /// Makes every record, the header and the prologue, and compares them with a file instead of
  /// writing them. Each thread holds one record in memory; nothing goes to a disk.
  ///
  /// - Returns: the differences in file order; empty if the file is what writing would give.
  /// - Throws: `ModelError` when the source cannot be read.
  package func deviations(
    of model: PackedModel, runningTasks run: TaskRunner = sequentially
  ) throws -> [PackedDeviation] {
    guard header.entries.map(\.place) == model.header.entries.map(\.place),
      header.names == model.header.names
    else { return [deviationOfPlan(from: model)] }
    let checksums = Mutex([UInt32](repeating: 0, count: header.entries.count))
    let found = Mutex([PackedDeviation?](repeating: nil, count: header.entries.count))
    try run(header.entries.count) { index in
      let (own, entry) = (try file.record(at: index).bytes, model.header.entries[index])
      let checksum = CRC32.checksum(own)
      checksums.withLock { $0[index] = checksum }
      let stored = try model.file.bytes(
        at: entry.offset, count: entry.byteCount, purpose: "its record")
      guard !own.elementsEqual(stored) else { return }
      let deviation = PackedDeviation(
        region: .record, tensor: entry.name, offset: entry.offset + own.firstDifference(stored),
        message: "its record differs")
      found.withLock { $0[index] = deviation }
    }
    var deviations = found.withLock { $0.compactMap { $0 } }
    // The header holds the records' checksums, so it would differ for no new reason.
    guard deviations.isEmpty else { return deviations }
    let seal = try header.seal(checksums: checksums.withLock { $0 })
    let stored = try model.file.bytes(
      at: header.recordsEnd, count: model.fileByteCount - header.recordsEnd,
      purpose: "the header")
    if !seal.header.elementsEqual(stored) {
      deviations.append(
        PackedDeviation(
          region: .header, tensor: nil, offset: header.recordsEnd,
          message: "the header differs: \(model.headerText.difference(from: seal.text))"))
    }
    return deviations
  }

  private func deviationOfPlan(from model: PackedModel) -> PackedDeviation {
    let (own, stored) = (header.entries, model.header.entries)
    let index = zip(own, stored).enumerated().first { $1.0.place != $1.1.place }?.offset
    if let index {
      return PackedDeviation(
        region: .record, tensor: stored[index].name, offset: stored[index].offset,
        message: "packing gives '\(own[index].name)' as \(own[index].outline) here, but the file "
          + "has \(stored[index].outline)")
    }
    return PackedDeviation(
      region: .header, tensor: nil, offset: model.prologue.headerOffset,
      message:
        "packing gives \(counted(header.names.count, "name")) and \(counted(own.count, "record")), but the file has "
        + "\(model.header.names.count) and \(stored.count)")
  }
}

extension PackedEntry {
  /// The entry without its checksum, which is known only once the record is made.
  fileprivate var place: PackedEntry {
    var place = self
    place.checksum = 0
    return place
  }

  fileprivate var outline: String {
    let name =
      switch encoding {
      case .raw: "raw"
      case .affine(let affine): "\(affine.bitWidth)-bit"
      case .palette: "palette"
      case .integer: "integer"
      }
    return "\(name) \(elementType) \(shape) of \(counted(byteCount, "byte"))"
  }
}

extension SharedBytes {
  /// Returns the first index at which the bytes differ from `other`; the shorter length if there is
  /// none.
  package func firstDifference(_ other: SharedBytes) -> Int {
    withUnsafeBytes { a in
      other.withUnsafeBytes { b in
        zip(a, b).enumerated().first { $1.0 != $1.1 }?.offset ?? Swift.min(a.count, b.count)
      }
    }
  }
}

extension String {
  /// Describes the first difference of two texts, with a few characters of both.
  fileprivate func difference(from other: String) -> String {
    let (own, others) = (Array(unicodeScalars), Array(other.unicodeScalars))
    let count = Swift.min(own.count, others.count)
    let place = (0..<count).first { own[$0] != others[$0] } ?? count
    func excerpt(_ text: [Unicode.Scalar]) -> String {
      var excerpt = String.UnicodeScalarView()
      excerpt.append(contentsOf: text[Swift.max(0, place - 24)..<Swift.min(text.count, place + 24)])
      return String(excerpt)
    }
    return own == others
      ? "the same text, compressed differently"
      : "it has '…\(excerpt(own))…', but packing gives '…\(excerpt(others))…'"
  }
}
