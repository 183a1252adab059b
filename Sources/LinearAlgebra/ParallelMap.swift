import CLAPACKE
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

/// The number of OpenBLAS's threads, a process-wide setting.
package enum BLASThreads {
  private static let depth = Mutex((count: 0, outer: 1))

  /// Held by the only call that may use BLAS's threads.
  private static let threadedCall = Mutex(())

  /// Runs `body`, a single call of a BLAS or LAPACK routine. It runs on one thread if any part of
  /// the process requires that, otherwise on BLAS's threads, one such call at a time.
  ///
  /// OpenBLAS's threaded `syrk`, `potrf` and `getrf` are not safe against one another: two of them
  /// on different threads of a program may give wrong results or deadlock (OpenBLAS issue 5620, in
  /// releases before 2026). All calls of routines that contain them go through here.
  ///
  /// - Precondition: `body` calls neither this function nor `parallelMap`.
  static func perform<Result: Sendable>(_ body: () -> Result) -> Result {
    let isJoining = depth.withLock { depth in
      if depth.count > 0 { depth.count += 1 }
      return depth.count > 0
    }
    if isJoining {
      // Counted like a region of its own: the setting stays at one thread until this call is done,
      // even if the enclosing region ends earlier.
      defer { leave() }
      return body()
    }
    return threadedCall.withLock { _ in body() }
  }

  private static func leave() {
    depth.withLock { depth in
      depth.count -= 1
      if depth.count == 0 { openblas_set_num_threads(Int32(depth.outer)) }
    }
  }

  /// Runs `body` with BLAS on one thread. Calls may be nested and concurrent.
  package static func runningSingleThreaded<Result>(_ body: () throws -> Result) rethrows -> Result
  {
    depth.withLock { depth in
      if depth.count == 0 {
        depth.outer = Int(openblas_get_num_threads())
        openblas_set_num_threads(1)
      }
      depth.count += 1
    }
    defer { leave() }
    return try body()
  }

  /// Sets the number of threads used by a single large BLAS call.
  package static func setMaximum(_ count: Int) {
    precondition(count >= 1, "at least one thread is needed")
    depth.withLock { depth in
      if depth.count == 0 {
        openblas_set_num_threads(Int32(count))
      } else {
        depth.outer = count
      }
    }
  }
}
