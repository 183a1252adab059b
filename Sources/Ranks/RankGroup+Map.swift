import Formats
import LinearAlgebra
import Synchronization

extension RankGroup {
  /// Maps `transform` over `0..<count` on the threads of all ranks, and returns the results by index,
  /// at every rank.
  ///
  /// Threads take indices in order from one counter, whichever rank they belong to, so put the largest
  /// items first. Results do not depend on who made them; of a process alone this is `parallelMap`.
  /// All ranks must call it, for the same items.
  ///
  /// - Parameters:
  ///   - threads: of this rank, at least 1.
  ///   - progress: called with each index, from any thread: with this rank's own ones when they are
  ///     done, and with those before them when they are, or soon will be.
  ///   - conclude: called once at each rank, when its last item is done and nobody knows of it yet.
  /// - Throws: the error of the lowest index that failed, of a process alone; of several ranks, one
  ///   that occurred at this one, while the others wait for results that it does not have: then end
  ///   all by `fail`. `FormatError` when bytes of a mapped input turned out to be missing.
  package func map<Result: Codable & Sendable>(
    count: Int, threads: Int, progress: (@Sendable (Int) -> Void)? = nil,
    concluding conclude: () throws -> Void = {},
    _ transform: @Sendable (Int) throws -> Result
  ) throws -> [Result] {
    guard let link else {
      let results = try parallelMap(count: count, threads: threads) { index in
        let result = try transform(index)
        progress?(index)
        return result
      }
      try conclude()
      return results
    }
    link.resetCounter()
    let share = try takeShare(of: count, from: link, threads: threads, progress, transform)
    try conclude()
    // Zeros that stood in for missing bytes must not reach the others.
    try SignalHandlers.checkInputs()
    return try exchange(share, count: count, over: link)
  }

  /// What one rank made.
  private struct Share<Result: Codable & Sendable>: Codable, Sendable {
    var indices: [Int] = []
    var results: [Result] = []
  }

  private func takeShare<Result: Codable & Sendable>(
    of count: Int, from link: any RankLink, threads: Int, _ progress: (@Sendable (Int) -> Void)?,
    _ transform: @Sendable (Int) throws -> Result
  ) throws -> Share<Result> {
    let share = Mutex(Share<Result>())
    // Indices below this one have been shown, but for those that threads of this rank work on.
    let shown = Mutex(0)
    let hasFailed = Atomic(false)
    // As many as `parallelMap` would start for all items, so that BLAS has as many threads.
    let workers = min(threads, count)
    _ = try parallelMap(count: workers, threads: threads) { _ in
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

  /// All results by index, at every rank.
  private func exchange<Result: Codable & Sendable>(
    _ share: Share<Result>, count: Int, over link: any RankLink
  ) throws -> [Result] {
    let gathered = link.gather(isRoot ? [] : try RankMessage.bytes(of: share))
    guard isRoot else { return try broadcast(nil as [Result]?) }
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
    return try broadcast(results)
  }
}

/// Ranks that do not do the same work, such as different builds of the program.
package struct RankError: Error, Hashable, CustomStringConvertible {
  /// The rank whose results are not ones that were asked for; `nil` where results are missing.
  let rank: Int?

  package var description: String {
    rank.map { "rank \($0) sent results of other work: all ranks must run the same program" }
      ?? "results are missing: all ranks must run the same program"
  }
}
