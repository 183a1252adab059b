import Synchronization

/// Memory pools of tapes: one per concurrent piece of work, reused by later pieces.
final class PoolOfPools: Sendable {
  // A pool is accessed only under the lock, or by the one piece of work that has taken it.
  private struct Idle: @unchecked Sendable {
    var pools: [BufferPool] = []
  }
  private let idle = Mutex(Idle())

  func withPool<Result>(_ body: (BufferPool) throws -> Result) rethrows -> Result {
    let taken = idle.withLock { Idle(pools: $0.pools.popLast().map { [$0] } ?? []) }
    let pool = taken.pools.first ?? BufferPool()
    let back = Idle(pools: [pool])
    defer { idle.withLock { $0.pools += back.pools } }
    return try body(pool)
  }
}
