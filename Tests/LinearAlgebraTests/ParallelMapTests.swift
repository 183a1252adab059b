import LinearAlgebra
import Testing

@Suite struct ParallelMapTests {
  private struct Failure: Error, Equatable {
    let index: Int
  }

  @Test(arguments: [1, 2, 3, 16])
  func resultsAreInIndexOrder(_ threads: Int) throws {
    #expect(try parallelMap(count: 100, threads: threads) { $0 * $0 } == (0..<100).map { $0 * $0 })
    #expect(try parallelMap(count: 0, threads: threads) { $0 } == [])
  }

  @Test(arguments: [1, 2, 5])
  func lowestFailureIsThrown(_ threads: Int) {
    #expect(throws: Failure(index: 7)) {
      try parallelMap(count: 50, threads: threads) { index in
        if index >= 7 { throw Failure(index: index) }
      }
    }
  }
}
