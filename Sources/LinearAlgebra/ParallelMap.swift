import Dispatch
import Synchronization

/// Maps `transform` over `0..<count` on up to `threads` threads and returns the results by index.
///
/// This is the only place that distributes work over tensors. Threads take indices in order from a
/// shared counter, so put the largest items first. BLAS runs single-threaded inside, because its
/// own threads would compete with these.
///
/// - Parameter threads: The number of threads, at least 1; more threads than cores gain nothing.
/// - Throws: The error of the lowest index that failed, whichever finished first; no further index
///   is started after a failure.
package func parallelMap<Result: Sendable>(
  count: Int, threads: Int, _ transform: @Sendable (Int) throws -> Result
) throws -> [Result] {
  precondition(threads >= 1, "at least one thread is needed")
  let workers = min(threads, count)
  guard workers > 1 else { return try (0..<count).map(transform) }

  let slots = Mutex([Swift.Result<Result, any Error>?](repeating: nil, count: count))
  let next = Atomic(0)
  let hasFailed = Atomic(false)
  BLASThreads.runningSingleThreaded {
    DispatchQueue.concurrentPerform(iterations: workers) { _ in
      while !hasFailed.load(ordering: .relaxed) {
        let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
        guard index < count else { return }
        let result = Swift.Result { try transform(index) }
        if case .failure = result { hasFailed.store(true, ordering: .relaxed) }
        slots.withLock { $0[index] = result }
      }
    }
  }
  // Indices start in order, so every index below a failed one has run: the lowest failure is found
  // before any slot that was never started.
  return try slots.withLock { try $0.map { try $0!.get() } }
}

/// Runs `body` for each of `0..<count` on up to `threads` threads, which take them in order, for
/// parts of a single matrix.
///
/// Different parts write to different memory. What `body` calls of BLAS runs on BLAS's threads unless
/// the caller requires one.
func parallelForEach(count: Int, threads: Int, _ body: (Int) -> Void) {
  let workers = min(threads, count)
  // No call outlives this one, and callers see to it that parts do not overlap.
  nonisolated(unsafe) let body = body
  guard workers > 1 else {
    for index in 0..<count { body(index) }
    return
  }
  let next = Atomic(0)
  DispatchQueue.concurrentPerform(iterations: workers) { _ in
    while true {
      let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
      guard index < count else { return }
      body(index)
    }
  }
}
