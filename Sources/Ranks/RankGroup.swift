import FoundationEssentials
import Glibc
import LinearAlgebra
import Storage
import Synchronization

/// The processes that a launcher such as `mpirun` started together, of which this is one.
///
/// Every rank runs the same program; rank 0 is the one that reads standard input, plans, prints and
/// gives the output its name. A process on its own is rank 0 of one, and nothing is different.
package struct RankGroup: Sendable {
  /// Of one process.
  package static let alone = RankGroup(nil)

  let link: (any RankLink)?

  package init(_ link: (any RankLink)?) {
    self.link = link
  }

  /// Which of the ranks this process is, from 0.
  package var rank: Int { link?.rank ?? 0 }
  package var count: Int { link?.count ?? 1 }
  package var isRoot: Bool { rank == 0 }
  /// Whether a launcher that it knows has started this process.
  package var hasLauncher: Bool { link != nil }
  /// Whether there are others to share work with.
  package var isShared: Bool { count > 1 }

  /// Rank 0's value, at every rank; all of them must call it.
  ///
  /// - Parameter value: ignored at the other ranks.
  /// - Throws: `EncodingError` and `DecodingError` for values that cannot be sent.
  package func broadcast<Value: Codable>(_ value: Value?) throws -> Value {
    guard let link else {
      guard let value else { preconditionFailure("rank 0 has the value") }
      return value
    }
    let bytes = try link.broadcast(isRoot ? RankMessage.bytes(of: value) : [])
    guard isRoot, let value else { return try RankMessage.value(of: bytes) }
    return value
  }

  /// Leaves the group when all ranks have come here; the last call.
  package func finish() { link?.finish() }

  /// Ends all ranks, because this one cannot go on.
  ///
  /// - Parameters:
  ///   - code: what the launcher is to end with.
  ///   - explain: says why; called at one rank only, whatever happens at others meanwhile.
  package func fail(code: Int32, explaining explain: () -> Void) -> Never {
    guard let link else {
      explain()
      exit(code)
    }
    if link.claim() {
      explain()
    } else {
      // Another rank is ending this one, after its words.
      sleep(60)
    }
    link.abort(code: code)
  }
}

/// Values as they travel: as binary property lists, which hold every number exactly, infinite ones too.
enum RankMessage {
  /// Property lists begin with a container.
  private struct Envelope<Value: Codable>: Codable {
    let value: Value
  }

  static func bytes<Value: Codable>(of value: Value) throws -> [UInt8] {
    let encoder = PropertyListEncoder()
    encoder.outputFormat = .binary
    return Array(try encoder.encode(Envelope(value: value)))
  }

  static func value<Value: Codable>(of bytes: [UInt8]) throws -> Value {
    try PropertyListDecoder().decode(Envelope<Value>.self, from: Data(bytes)).value
  }
}

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
  ///   all by `fail`. `ModelError` when bytes of a mapped input turned out to be missing.
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

extension RankGroup {
  /// The library that connects ranks by MPI: the one that the environment names, or that which
  /// `make mpi` puts beside the program.
  private static func libraryPath(environment: [String: String]) -> String? {
    if let path = environment["CONDI_MPI_LIBRARY"] { return path }
    let program = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
    let path = program.deletingLastPathComponent().appending(path: "libcondi-mpi.so").path
    return FileManager.default.fileExists(atPath: path) ? path : nil
  }

  /// Whether there is a library that connects ranks.
  package static func isSupported(environment: [String: String]) -> Bool {
    libraryPath(environment: environment) != nil
  }

  /// The group that a launcher started this process in: that of Open MPI, where its library is there
  /// and the environment says that `mpirun`, or `srun` with PMIx or PMI, is; else the process alone.
  ///
  /// To be called once, after signal handlers are installed.
  ///
  /// - Throws: an error that names the library when it cannot be loaded.
  package static func launched(environment: [String: String]) throws -> RankGroup {
    let launchers = ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"]
    guard launchers.contains(where: { environment[$0] != nil }),
      let path = libraryPath(environment: environment)
    else { return .alone }
    return RankGroup(try MPILink(libraryPath: path))
  }
}

/// What the ranks of a group say to one another, by whatever carries it.
///
/// Calls come from any thread. Those marked collective are made by all ranks, in the same order.
package protocol RankLink: Sendable {
  /// Which of the ranks this process is, from 0.
  var rank: Int { get }
  var count: Int { get }

  /// What a counter of the group was before this call added one to it.
  func take() -> Int
  /// Sets the counter to zero. Collective.
  func resetCounter()
  /// Whether this call is the first one of all ranks, ever.
  func claim() -> Bool

  /// Rank 0's bytes. Collective.
  ///
  /// - Parameter bytes: ignored at the other ranks.
  func broadcast(_ bytes: [UInt8]) -> [UInt8]
  /// The bytes of every rank, in their order, at rank 0; nothing at the others. Collective.
  func gather(_ bytes: [UInt8]) -> [[UInt8]]

  /// Ends the processes of all ranks.
  func abort(code: Int32) -> Never
  /// Leaves the group. Collective, and the last call.
  func finish()
}
