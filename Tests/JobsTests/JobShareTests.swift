import TestSupport
import Testing

@testable import Jobs
@testable import Storage

/// A file of records that have sizes but no content.
private struct Sizes: PlacedFile {
  let records: [PlacedRecord]
  var recordsEnd: Int { records.last.map { $0.offset + $0.byteCount } ?? 0 }

  init(_ sizes: [Int]) {
    var end = 0
    records = sizes.enumerated().map { index, size in
      defer { end += size }
      return PlacedRecord(
        name: "\(index)", names: ["\(index)"], offset: end, byteCount: size, sourceByteCount: size)
    }
  }

  func record(at index: Int) throws -> SharedBytes { SharedBytes() }
  func pieces(checksums: [UInt32]) throws -> [PlacedPiece] { [] }
}

@Suite struct JobShareTests {
  @Test(arguments: [1, 2, 3, 7, 100])
  func sharesCoverEveryRecordOnce(_ count: Int) throws {
    var random = SplitMix(seed: UInt64(count))
    let sizes = (0..<50).map { _ in Int.random(in: 0...1_000_000, using: &random) }
    let file = Sizes(sizes)
    let shares = (1...count).compactMap { JobNumber($0, of: count) }
      .map { JobShare.indices(of: file, job: $0) }
    #expect(shares.flatMap { $0 }.sorted() == Array(0..<50))
    let most = shares.map { $0.reduce(0) { $0 + sizes[$1] } }.max() ?? 0
    let mean = sizes.reduce(0, +) / count
    #expect(most <= mean + (sizes.max() ?? 0) + 50 * 4096)
  }

  /// The assignment is fixed, because jobs of one plan may run different builds.
  @Test func recordAssignmentIsStable() {
    let file = Sizes([10, 400_000, 300_000, 200_000, 100_000, 100_000])
    let shares = (1...2).compactMap { JobNumber($0, of: 2) }
      .map { JobShare.indices(of: file, job: $0) }
    #expect(shares == [[1, 4, 5], [2, 3, 0]])
  }
}
