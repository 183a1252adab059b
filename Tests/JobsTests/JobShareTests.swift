import TestSupport
import Testing

@testable import Jobs
@testable import Storage

/// Returns a file of records that have sizes but no content.
private func file(ofSizes sizes: [Int]) -> PlannedFile<Never> {
  var end = 0
  let records = sizes.enumerated().map { index, size in
    defer { end += size }
    return PlannedRecord<Never>(
      name: "\(index)", names: ["\(index)"], offset: end, byteCount: size, sourceByteCount: size
    ) { MadeRecord(SharedBytes()) }
  }
  return PlannedFile(records) { _ in [] }
}

@Suite struct JobShareTests {
  @Test(arguments: [1, 2, 3, 7, 100])
  func sharesCoverEveryRecordOnce(_ count: Int) throws {
    var random = SplitMix(seed: UInt64(count))
    let sizes = (0..<50).map { _ in Int.random(in: 0...1_000_000, using: &random) }
    let file = file(ofSizes: sizes)
    let shares = (1...count).compactMap { JobNumber($0, of: count) }
      .map { JobShare.indices(of: file, job: $0) }
    #expect(shares.flatMap { $0 }.sorted() == Array(0..<50))
    let most = shares.map { $0.reduce(0) { $0 + sizes[$1] } }.max() ?? 0
    let mean = sizes.reduce(0, +) / count
    #expect(most <= mean + (sizes.max() ?? 0) + 50 * 4096)
  }

  /// Written down, because jobs of one plan may run different builds.
  @Test func theDealingIsThis() {
    let file = file(ofSizes: [10, 400_000, 300_000, 200_000, 100_000, 100_000])
    let shares = (1...2).compactMap { JobNumber($0, of: 2) }
      .map { JobShare.indices(of: file, job: $0) }
    #expect(shares == [[1, 4, 5], [2, 3, 0]])
  }
}
