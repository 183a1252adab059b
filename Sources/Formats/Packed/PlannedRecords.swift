import Synchronization

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
