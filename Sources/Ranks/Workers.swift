import LinearAlgebra
import Storage
import Synchronization

/// The threads that share a piece of work: those of this process, or of all ranks.
package struct Workers: Sendable {
  /// The number of threads of this process, at least 1.
  package let threads: Int
  /// The processes that share the work.
  package let ranks: RankGroup

  package init(threads: Int, ranks: RankGroup = .alone) {
    precondition(threads >= 1, "at least one thread is needed")
    self.threads = threads
    self.ranks = ranks
  }

  /// Runs tasks on the threads of this process alone.
  package var tasks: TaskRunner {
    { [threads] count, task in _ = try parallelMap(count: count, threads: threads, task) }
  }

  /// Maps `transform` over matrices as `map` does, no more of them at once than memory allows: those
  /// of 1 GiB in double precision, or the largest.
  ///
  /// - Parameter elementCounts: One per matrix.
  /// - Throws: As `map` does.
  package func mapMatrices<Result: Codable & Sendable>(
    ofElementCounts elementCounts: [Int], progress: (@Sendable (Int) -> Void)? = nil,
    _ transform: @Sendable (Int) throws -> Result
  ) throws -> [Result] {
    let budget = MemoryBudget.forMatrices(ofElementCounts: elementCounts)
    return try map(count: elementCounts.count, progress: progress) { index in
      try budget.using(elementCount: elementCounts[index]) { try transform(index) }
    }
  }

  /// Maps `transform` over `0..<count` on the threads of all ranks and returns the results by index
  /// at every rank.
  ///
  /// The threads of all ranks take indices in order from one counter, so put the largest items
  /// first. Results do not depend on the rank that computes them; for a single process this is
  /// `parallelMap`. All ranks must call it for the same items.
  ///
  /// - Parameters:
  ///   - progress: Called with each index, from any thread. It is called for this rank's own
  ///     indices when they are done, and for preceding indices of other ranks when they are done or
  ///     nearly done.
  ///   - conclude: Called once at each rank after its last item, before its results are sent.
  /// - Throws: For a single process, the error of the lowest index that failed. For several ranks,
  ///   an error of this rank, while the other ranks wait for its results; the caller must then end
  ///   all ranks by `fail`. `ModelError` if bytes of a mapped input were missing.
  package func map<Result: Codable & Sendable>(
    count: Int, progress: (@Sendable (Int) -> Void)? = nil,
    concluding conclude: () throws -> Void = {},
    _ transform: @Sendable (Int) throws -> Result
  ) throws -> [Result] {
    guard let link = ranks.link else {
      let results = try parallelMap(count: count, threads: threads) { index in
        let result = try transform(index)
        progress?(index)
        return result
      }
      try conclude()
      return results
    }
    link.resetCounter()
    let share = try takeShare(of: count, from: link, progress, transform)
    try conclude()
    // Zeros substituted for missing bytes must not reach the other ranks.
    try SignalHandlers.checkInputs()
    return try exchange(share, count: count, over: link)
  }

  /// The results computed by one rank.
  private struct Share<Result: Codable & Sendable>: Codable, Sendable {
    var indices: [Int] = []
    var results: [Result] = []
  }

  private func takeShare<Result: Codable & Sendable>(
    of count: Int, from link: any RankLink, _ progress: (@Sendable (Int) -> Void)?,
    _ transform: @Sendable (Int) throws -> Result
  ) throws -> Share<Result> {
    let share = Mutex(Share<Result>())
    // Indices below this one have been reported, except those in progress on this rank.
    let shown = Mutex(0)
    let hasFailed = Atomic(false)
    // The number that `parallelMap` would start for all items, so that BLAS has the same number of
    // threads.
    let sharing = min(threads, count)
    _ = try parallelMap(count: sharing, threads: threads) { _ in
      while !hasFailed.load(ordering: .relaxed) {
        let (index, others) = shown.withLock { shown in
          let index = link.take()
          defer { shown = min(index + 1, count) }
          return (index, shown..<min(index, count))
        }
        if let progress { others.forEach(progress) }
        guard index < count else { return }
        do {
          let result = try transform(index)
          share.withLock { share in
            share.indices.append(index)
            share.results.append(result)
          }
        } catch {
          hasFailed.store(true, ordering: .relaxed)
          throw error
        }
        progress?(index)
      }
    }
    return share.withLock { $0 }
  }

  /// Returns all results by index, at every rank.
  private func exchange<Result: Codable & Sendable>(
    _ share: Share<Result>, count: Int, over link: any RankLink
  ) throws -> [Result] {
    let gathered = link.gather(ranks.isRoot ? [] : try RankMessage.bytes(of: share))
    guard ranks.isRoot else { return try ranks.broadcast(nil as [Result]?) }
    var found = [Result?](repeating: nil, count: count)
    for (rank, bytes) in gathered.enumerated() {
      let share = rank == 0 ? share : try RankMessage.value(of: bytes)
      guard share.indices.count == share.results.count else { throw RankError(rank: rank) }
      for (index, result) in zip(share.indices, share.results) {
        guard found.indices.contains(index), found[index] == nil else {
          throw RankError(rank: rank)
        }
        found[index] = result
      }
    }
    let results = found.compactMap(\.self)
    guard results.count == count else { throw RankError(rank: nil) }
    return try ranks.broadcast(results)
  }
}
