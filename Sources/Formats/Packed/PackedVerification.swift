import Synchronization

/// A fault found in a packed file.
public struct PackedFault: Hashable, Sendable {
  /// The tensor concerned; `nil` for the file as a whole.
  public let tensor: String?
  /// Where, in the file.
  public let offset: Int?
  public let message: String
}

extension PackedModel {
  /// Checks every byte after the header was read: records' checksums and contents, and padding.
  ///
  /// Opening the file has already checked the prologue, the header, and where records lie, so
  /// together every byte of the file is accounted for.
  ///
  /// - Returns: the faults in file order; none when the file is whole.
  public func verifyRecords(runningTasks run: PackedWriter.TaskRunner = PackedWriter.sequentially)
    throws -> [PackedFault]
  {
    let faults = Mutex([[PackedFault]](repeating: [], count: header.entries.count))
    try run(header.entries.count) { index in
      let found = faultsOfRecord(index)
      faults.withLock { $0[index] = found }
    }
    return faults.withLock { $0 }.flatMap { $0 }
  }

  private func faultsOfRecord(_ index: Int) -> [PackedFault] {
    let entry = header.entries[index]
    var faults: [PackedFault] = []
    do {
      let padding = try padding(before: index)
      if let position = padding.bytes.array.firstIndex(where: { $0 != 0 }) {
        faults.append(
          PackedFault(
            tensor: nil, offset: padding.offset + position, message: "padding is not zero"))
      }
      let record = try record(of: entry)
      // Decoding checks codes, indices, parameters and unused bits.
      if case .affine(let affine) = entry.encoding {
        _ = try entry.quantizedTensor(of: record, affine)
      } else {
        _ = try entry.elements(of: record)
      }
    } catch let error as FormatError {
      faults.append(
        PackedFault(
          tensor: entry.name, offset: error.offset ?? entry.offset, message: "\(error.problem)"))
    } catch {
      faults.append(PackedFault(tensor: entry.name, offset: entry.offset, message: "\(error)"))
    }
    return faults
  }
}
