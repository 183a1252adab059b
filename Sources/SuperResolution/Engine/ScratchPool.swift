import Synchronization

/// Memory for values that live no longer than one piece of work, reused by later pieces.
final class ScratchPool: @unchecked Sendable {
  private let idle = Mutex<[Buffer]>([])

  /// Accessed only under the lock, or by the one piece of work that has taken it.
  struct Buffer: @unchecked Sendable {
    let start: UnsafeMutablePointer<Float>
    let count: Int
  }

  deinit {
    idle.withLock { idle in
      for buffer in idle { buffer.start.deallocate() }
    }
  }

  /// Calls `body` with at least `count` uninitialized floats.
  func withScratch<Result>(
    _ count: Int, _ body: (UnsafeMutablePointer<Float>) throws -> Result
  ) rethrows -> Result {
    let buffer = take(count)
    defer { idle.withLock { $0.append(buffer) } }
    return try body(buffer.start)
  }

  /// Memory that returns to its pool when nothing refers to it.
  final class Loan: @unchecked Sendable {
    private let pool: ScratchPool
    private let buffer: Buffer
    /// The uninitialized floats.
    var start: UnsafeMutablePointer<Float> { buffer.start }

    init(_ pool: ScratchPool, _ buffer: Buffer) {
      self.pool = pool
      self.buffer = buffer
    }

    deinit { pool.idle.withLock { $0.append(buffer) } }
  }

  /// Returns at least `count` uninitialized floats.
  func lend(_ count: Int) -> Loan { Loan(self, take(count)) }

  /// Returns the smallest buffer that is large enough, or a new one instead of one that is not.
  private func take(_ count: Int) -> Buffer {
    let found = idle.withLock { idle -> Buffer? in
      let fitting = idle.indices.filter { idle[$0].count >= count }
      if let index = fitting.min(by: { idle[$0].count < idle[$1].count }) {
        return idle.remove(at: index)
      }
      return idle.popLast()
    }
    if let found {
      if found.count >= count { return found }
      found.start.deallocate()
    }
    return Buffer(start: .allocate(capacity: max(1, count)), count: count)
  }
}
