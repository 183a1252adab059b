import Foundation
import Synchronization
import Testing

@testable import Ranks

@Suite struct RankGroupTests {
  /// An item like those of reports, with numbers that JSON lacks.
  private struct Item: Codable, Equatable, Sendable {
    var name: String
    var numbers: [Double]
    var note: String?
  }

  @Sendable private static func item(_ index: Int) -> Item {
    Item(
      name: "layer \(index)",
      numbers: [.infinity, -0.0, 0x1.fffffffffffffp-1022, .pi / Double(index)],
      note: index.isMultiple(of: 2) ? nil : "odd")
  }

  @Test(arguments: [1, 2, 5], [1, 3])
  func everyRankHasAllResults(_ count: Int, _ threads: Int) throws {
    for items in [0, 1, 2, 17, 200] {
      let expected = (0..<items).map(Self.item)
      let outcomes = ThreadRanks.run(count) { ranks in
        try Workers(threads: threads, ranks: ranks).map(count: items, Self.item)
      }
      #expect(outcomes.count == count)
      for outcome in outcomes {
        let results = try outcome.get()
        #expect(results == expected)
        #expect(results.allSatisfy { $0.numbers[1].sign == .minus })
      }
      #expect(try Workers(threads: threads).map(count: items, Self.item) == expected)
    }
  }

  @Test func everyIndexIsMappedOnce() throws {
    let calls = Mutex([Int](repeating: 0, count: 100))
    let outcomes = ThreadRanks.run(4) { ranks in
      for _ in 0..<3 {
        _ = try Workers(threads: 2, ranks: ranks).map(count: 100) { index in
          calls.withLock { $0[index] += 1 }
          return index
        }
      }
    }
    for outcome in outcomes { try outcome.get() }
    #expect(calls.withLock { $0 } == [Int](repeating: 3, count: 100))
  }

  /// A progress bar, which also counts the work of others, would otherwise stop early or overrun.
  @Test(arguments: [1, 3], [1, 4])
  func progressShowsEachIndexOnce(_ count: Int, _ threads: Int) throws {
    let outcomes = ThreadRanks.run(count) { ranks in
      let shown = Mutex<[Int]>([])
      _ = try Workers(threads: threads, ranks: ranks).map(
        count: 60, progress: { index in shown.withLock { $0.append(index) } }
      ) { index in
        // Shuffles the order in which indices are done; any order must show each of them once.
        usleep(UInt32(index * 7 % 5) * 50)
        return index
      }
      return shown.withLock { $0.sorted() }
    }
    for outcome in outcomes { #expect(try outcome.get() == Array(0..<60)) }
  }

  @Test func everyRankConcludesBeforeResultsAreReturned() throws {
    let concluded = Mutex(0)
    let outcomes = ThreadRanks.run(3) { ranks in
      _ = try Workers(threads: 1, ranks: ranks).map(
        count: 9, concluding: { concluded.withLock { $0 += 1 } }
      ) { $0 }
      return concluded.withLock { $0 }
    }
    for outcome in outcomes { #expect(try outcome.get() == 3) }
  }

  private struct Failure: Error, Equatable {
    var index: Int
  }

  @Test func errorIsThrownOnRankWhereItOccurs() throws {
    #expect(throws: Failure(index: 3)) {
      try Workers(threads: 2).map(count: 9) { index in
        guard index < 3 else { throw Failure(index: index) }
        return index
      }
    }
    let outcome = ThreadRanks.run(1) { ranks in
      try Workers(threads: 1, ranks: ranks).map(count: 9) { index in
        guard index < 3 else { throw Failure(index: index) }
        return index
      }
    }
    #expect(throws: Failure(index: 3)) { try outcome[0].get() }
  }

  @Test func rootBroadcastsToAllRanks() throws {
    let outcomes = ThreadRanks.run(3) { ranks in
      let said: Item = try ranks.broadcast(ranks.isRoot ? Self.item(7) : nil)
      return (said, ranks.isRoot, ranks.isShared)
    }
    for (rank, outcome) in outcomes.enumerated() {
      let (said, isRoot, isShared) = try outcome.get()
      #expect(said == Self.item(7))
      #expect(isRoot == (rank == 0))
      #expect(isShared)
    }
    #expect(try RankGroup.alone.broadcast(Self.item(1)) == Self.item(1))
    #expect(!RankGroup.alone.isShared)
  }

  @Test func processWithoutLauncherIsAlone() throws {
    let group = try RankGroup.launched(environment: ["PATH": "/bin"])
    #expect(group.count == 1)
    #expect(group.isRoot)
  }

  @Test(arguments: ["/missing/libcondi-mpi.so", "/dev/null"])
  func unloadableMPILibraryIsAnError(_ path: String) throws {
    let environment = ["PMIX_RANK": "0", "CONDI_MPI_LIBRARY": path]
    let error = #expect(throws: MPILink.LoadingError.self) {
      try RankGroup.launched(environment: environment)
    }
    #expect(error?.description.hasPrefix("\(path): ") == true)
  }
}
