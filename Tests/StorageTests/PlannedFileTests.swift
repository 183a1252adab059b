import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Storage

@Suite struct PlannedFileTests {
  struct Refusal: Error, Equatable {}

  /// Returns records of the given lengths, each full of its own index, with gaps of two bytes between.
  private func file(
    lengths: [Int], made: [Int]? = nil, failing: Int? = nil, isFlowing: Bool = false
  ) -> PlannedFile<Int> {
    var end = 0
    let records = lengths.enumerated().map { index, length in
      defer { end += 2 + length }
      let made = made?[index] ?? length
      return PlannedRecord<Int>(
        name: "r\(index)", names: ["r\(index)"], offset: end + 2, byteCount: length,
        sourceByteCount: length
      ) {
        if index == failing { throw Refusal() }
        return MadeRecord(
          SharedBytes([UInt8](repeating: UInt8(index + 1), count: made)), cost: 10 * index)
      }
    }
    return PlannedFile(records, isFlowing: isFlowing) { results in
      results.map {
        FilePiece(offset: $0.offset - 2, bytes: SharedBytes([0xAA, UInt8($0.byteCount)]))
      }
    }
  }

  private func content(of path: String) throws -> [UInt8] {
    Array(try Data(contentsOf: URL(filePath: path)))
  }

  /// Runs tasks on four threads, which take them in the order of their indices.
  private static let inParallel:
    @Sendable (Int, @escaping @Sendable (Int) throws -> Void) throws -> Void = {
      count, task in
      let next = Atomic(0)
      let failure = Mutex<(index: Int, error: any Error)?>(nil)
      DispatchQueue.concurrentPerform(iterations: 4) { _ in
        while failure.withLock({ $0 == nil }) {
          let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
          guard index < count else { return }
          do {
            try task(index)
          } catch {
            failure.withLock { if $0.map({ index < $0.index }) ?? true { $0 = (index, error) } }
          }
        }
      }
      if let failure = failure.withLock({ $0 }) { throw failure.error }
    }

  @Test func anyOrderOfRecordsGivesSameFile() throws {
    let backwards: TaskRunner = { count, task in
      for index in (0..<count).reversed() { try task(index) }
    }
    try withTemporaryFolder { folder in
      let expected: [UInt8] = [0xAA, 3, 1, 1, 1, 0xAA, 0, 0xAA, 5, 3, 3, 3, 3, 3]
      for run in [sequentially, backwards, Self.inParallel] as [TaskRunner] {
        let path = folder.appending("out")
        let names = Mutex(Set<String>())
        let written = try file(lengths: [3, 0, 5]).write(
          to: path, replacesExisting: true, runningTasks: run
        ) { name, _ in names.withLock { _ = $0.insert(name) } }
        #expect(try content(of: path) == expected)
        #expect(written.byteCount == expected.count)
        #expect(written.costs == [0, 10, 20])
        #expect(names.withLock { $0 } == ["r0", "r1", "r2"])
      }
    }
  }

  @Test func recordOfUnplannedLengthIsAnError() throws {
    try withTemporaryFolder { folder in
      for (made, isFlowing) in [(2, false), (4, false), (4, true)] {
        let file = file(lengths: [3, 3], made: [3, made], isFlowing: isFlowing)
        let error = ModelError(
          .truncated(expectedBytes: 3, foundBytes: made, purpose: "its planned record"),
          path: folder.appending("out"), tensor: "r1")
        #expect(throws: error) { try file.write(to: folder.appending("out")) }
        let left = try folder.names()
        #expect(left.isEmpty)
      }
    }
  }

  @Test(arguments: 0..<8)
  func flowingRecordsCloseUp(_ seed: UInt64) throws {
    var random = SplitMix(seed: seed)
    let lengths = (0..<40).map { _ in Int.random(in: 1...50, using: &random) }
    let made = lengths.map { Int.random(in: 0...$0, using: &random) }
    let expected = made.enumerated().flatMap { index, count -> [UInt8] in
      [0xAA, UInt8(count)] + [UInt8](repeating: UInt8(index + 1), count: count)
    }
    try withTemporaryFolder { folder in
      for run in [sequentially, Self.inParallel] as [TaskRunner] {
        let path = folder.appending("out")
        try file(lengths: lengths, made: made, isFlowing: true)
          .write(to: path, replacesExisting: true, runningTasks: run)
        #expect(try content(of: path) == expected)
      }
    }
  }

  /// Threads that wait for the place of a failed record end as well.
  @Test(arguments: [0, 7, 39])
  func failedRecordEndsFlowingFile(_ index: Int) throws {
    try withTemporaryFolder { folder in
      let file = file(
        lengths: [Int](repeating: 9, count: 40), failing: index, isFlowing: true)
      #expect(throws: Refusal.self) {
        try file.write(to: folder.appending("out"), runningTasks: Self.inParallel)
      }
      let left = try folder.names()
      #expect(left.isEmpty)
    }
  }

  @Test func sealingClearsGapsOfUsedFile() throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("out")
      try writeUnsynced(Data(repeating: 0xFF, count: 40), to: path)
      let descriptor = open(path, O_RDWR)
      defer { close(descriptor) }
      let records = [(2, 3), (8, 1)].map { offset, count in
        PlannedRecord<Never>(
          name: "r", names: ["r"], offset: offset, byteCount: count, sourceByteCount: count
        ) { MadeRecord(SharedBytes([UInt8](repeating: 7, count: count))) }
      }
      let file = PlannedFile(records, recordsEnd: 12) { _ in [] }
      let writer = PlannedFileWriter(file, to: PositionalFile(path: path, descriptor: descriptor))
      var results: [RecordResult<Never>] = []
      for (index, record) in records.enumerated() {
        let bytes = try file.record(at: index).bytes
        try writer.output.write(bytes, at: record.offset)
        results.append(
          RecordResult(
            index: index, offset: record.offset, byteCount: bytes.count,
            checksum: CRC32.checksum(bytes), cost: nil))
      }
      #expect(try writer.seal(results.reversed(), clearsGaps: true) == 12)
      #expect(try content(of: path).prefix(12) == [0, 0, 7, 7, 7, 0, 0, 0, 7, 0, 0, 0])
    }
  }

  @Test func filesOfFolderAppearTogether() throws {
    func output() -> PlannedOutput {
      PlannedOutput(folderOf: [
        ("index", PlannedFile(content: SharedBytes([1]))),
        ("data", PlannedFile(content: SharedBytes([2, 3]))),
      ])
    }
    try withTemporaryFolder { folder in
      let path = folder.appending("model")
      let written = try output().write(
        to: path, replacesExisting: false, runningTasks: sequentially, progress: nil)
      #expect(written.map(\.path) == ["\(path)/data", "\(path)/index"])
      #expect(written.map(\.byteCount) == [2, 1])
      #expect(try content(of: "\(path)/data") == [2, 3])
      // One file that is in the way keeps the other from being written.
      unlink("\(path)/index")
      #expect(throws: ModelError(.outputExists, path: "\(path)/data")) {
        _ = try output().write(
          to: path, replacesExisting: false, runningTasks: sequentially, progress: nil)
      }
      #expect(try FileManager.default.contentsOfDirectory(atPath: path) == ["data"])
    }
  }
}
