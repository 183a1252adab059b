import Synchronization

/// Memory for values that live no longer than one piece of work, reused by later pieces.
final class ScratchPool: @unchecked Sendable {
  private let idle = Mutex<[Buffer]>([])

  /// Accessed only under the lock, or by the one piece of work that has taken it.
  private struct Buffer: @unchecked Sendable {
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

  private func take(_ count: Int) -> Buffer {
    if let buffer = idle.withLock({ $0.popLast() }) {
      if buffer.count >= count { return buffer }
      buffer.start.deallocate()
    }
    return Buffer(start: .allocate(capacity: max(1, count)), count: count)
  }
}
