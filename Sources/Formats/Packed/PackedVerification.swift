extension PackedModel {
  /// Checks every byte after the header was read: records' checksums and contents, and padding.
  ///
  /// Opening the file has already checked the prologue, the header, and where records lie, so
  /// together every byte of the file is accounted for. `PackedExamination` does both.
  ///
  /// - Parameter map: checks the records, on several threads or ranks where it helps.
  /// - Returns: the faults in file order; none when the file is whole.
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

  /// Runs a number of independent checks, in any order, and returns what they found by index.
  public typealias CheckMap = (
    _ count: Int, _ check: @escaping @Sendable (Int) throws -> [PackedFault]
  ) throws -> [[PackedFault]]

  /// One check after the other.
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
    } catch let error as FormatError {
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
        // Any bytes are elements: nothing but the checksum needs them, and never all at once.
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
    } catch let error as FormatError {
      return fault("\(error.problem)", isIntact)
    } catch {
      return fault("\(error)", isIntact)
    }
  }
}
