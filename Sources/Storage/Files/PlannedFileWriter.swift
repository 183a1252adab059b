import Synchronization

/// A closure that writers call after each record, from any thread, with its tensor's name and the
/// bytes read.
///
/// ```swift
/// let progress: WriteProgress = { tensor, byteCount in print("\(tensor): \(byteCount) bytes") }
/// let archive = try FormatRegistry.standard.open("model.pth")
/// try SafetensorsFormat().plan(archive).write(to: "model.safetensors", progress: progress)
/// ```
public typealias WriteProgress = @Sendable (_ tensor: String, _ byteCount: Int) -> Void

/// Determines which threads or processes make the records of a planned file, and what surrounds the
/// making of each.
package protocol WritingPolicy<Cost> {
  associatedtype Cost: Sendable

  /// Maps `transform` over `0..<count`, starting tasks in the order of their indices.
  ///
  /// - Parameter progress: called with each index, from any thread.
  func map(
    count: Int, progress: @escaping @Sendable (Int) -> Void,
    _ transform: @escaping @Sendable (Int) throws -> RecordResult<Cost>
  ) throws -> [RecordResult<Cost>]

  /// Runs the closure that makes the record at an index and puts it in its place.
  var making: RecordMaking<Cost> { get }
}

/// Runs `make`, which puts the record at `index` in its place.
package typealias RecordMaking<Cost: Sendable> =
  @Sendable (
    _ index: Int, _ make: () throws -> RecordResult<Cost>
  ) throws -> RecordResult<Cost>

/// Executes a plan: makes records, puts them in their places, and seals the file.
package struct PlannedFileWriter<Cost: Sendable>: Sendable {
  package let file: PlannedFile<Cost>
  package let output: PositionalFile

  package init(_ file: PlannedFile<Cost>, to output: PositionalFile) {
    self.file = file
    self.output = output
  }

  /// Makes the records at `indices`, in that order.
  ///
  /// - Parameters:
  ///   - indices: for a flowing file, those of all records in order.
  ///   - progress: called with each record's tensor and source bytes, from any thread.
  /// - Returns: one result per index, in the order of `indices`.
  /// - Throws: the error of the first index that failed.
  package func place(
    _ indices: [Int], by policy: some WritingPolicy<Cost>, progress: WriteProgress? = nil
  ) throws -> [RecordResult<Cost>] {
    precondition(
      !file.isFlowing || indices.elementsEqual(file.records.indices),
      "the records of a flowing file are made in order")
    let flow = file.isFlowing ? RecordFlow() : nil
    let making = policy.making
    @Sendable func show(_ position: Int) { self.show(indices[position], progress) }
    return try policy.map(count: indices.count, progress: show) { position in
      let index = indices[position]
      do {
        return try making(index) { try place(index, flow) }
      } catch {
        flow?.abandon(at: index)
        throw error
      }
    }
  }

  /// Calls `progress` for the record at `index`.
  package func show(_ index: Int, _ progress: WriteProgress?) {
    let record = file.records[index]
    if !record.names.isEmpty { progress?(record.name, record.sourceByteCount) }
  }

  private func place(_ index: Int, _ flow: RecordFlow?) throws -> RecordResult<Cost> {
    let made = try file.record(at: index)
    let offset =
      try flow?.offset(of: made.bytes.count, at: index, in: file) ?? file.records[index].offset
    try output.write(made.bytes, at: offset)
    return RecordResult(
      index: index, offset: offset, byteCount: made.bytes.count,
      checksum: CRC32.checksum(made.bytes), contentChecksum: made.contentChecksum, cost: made.cost)
  }

  /// Writes everything that is not a record.
  ///
  /// - Parameters:
  ///   - results: one per record, in any order.
  ///   - clearsGaps: whether to zero the gaps between records, which may hold other bytes.
  /// - Returns: the file's length.
  package func seal(_ results: [RecordResult<Cost>], clearsGaps: Bool) throws -> Int {
    let results = results.sorted { $0.index < $1.index }
    precondition(results.map(\.index) == Array(file.records.indices), "one result per record")
    if clearsGaps { try clearGaps() }
    var end =
      file.isFlowing ? results.last.map { $0.offset + $0.byteCount } ?? 0 : file.recordsEnd
    for piece in try file.pieces(sealing: results) {
      try output.write(piece.bytes, at: piece.offset)
      end = max(end, piece.offset + piece.bytes.count)
    }
    return end
  }

  private func clearGaps() throws {
    var end = 0
    for record in file.records {
      try clear(end..<record.offset)
      end = record.offset + record.byteCount
    }
    try clear(end..<max(end, file.recordsEnd))
  }

  private func clear(_ range: Range<Int>) throws {
    guard !range.isEmpty else { return }
    try output.write(SharedBytes(count: range.count) { _ in }, at: range.lowerBound)
  }
}

/// Finds the offsets of a flowing file's records: each is known once all records before it are
/// made.
// Sendable: its variables are accessed only under the condition's lock.
private final class RecordFlow: @unchecked Sendable {
  private let condition = Condition()
  private var next = 0
  private var end = 0
  /// The first record that failed.
  private var failed = Int.max

  /// Waits for the turn of the record at `index` and returns its offset.
  ///
  /// - Throws: `CancellationError` when a record before it failed.
  func offset<Cost>(of byteCount: Int, at index: Int, in file: PlannedFile<Cost>) throws -> Int {
    try condition.withLock {
      while next < index {
        if index > failed { throw CancellationError() }
        condition.wait()
      }
      let planned = file.records[index]
      let previousEnd =
        index == 0 ? 0 : file.records[index - 1].offset + file.records[index - 1].byteCount
      let offset = end + planned.offset - previousEnd
      end = offset + byteCount
      next += 1
      condition.broadcast()
      return offset
    }
  }

  /// Lets those that wait for the record at `index` give up; those before it still get their turn.
  func abandon(at index: Int) {
    condition.withLock {
      failed = min(failed, index)
      condition.broadcast()
    }
  }
}

/// Makes records on the threads of this process only.
private struct LocalWriting<Cost: Sendable>: WritingPolicy {
  let run: TaskRunner

  func map(
    count: Int, progress: @escaping @Sendable (Int) -> Void,
    _ transform: @escaping @Sendable (Int) throws -> RecordResult<Cost>
  ) throws -> [RecordResult<Cost>] {
    let results = Mutex([RecordResult<Cost>?](repeating: nil, count: count))
    try run(count) { index in
      let result = try transform(index)
      results.withLock { $0[index] = result }
      progress(index)
    }
    return results.withLock { $0.compactMap(\.self) }
  }

  var making: RecordMaking<Cost> { { try $1() } }
}

/// The result of writing a planned file.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// let written = try SafetensorsFormat().plan(archive).write(to: "model.safetensors")
/// print("\(written.costs.count) records, \(written.byteCount) bytes")
/// ```
public struct WrittenFile<Cost: Sendable>: Sendable {
  /// The file's length.
  public let byteCount: Int
  /// The cost of making each record, in the order of the records; `nil` if every bit was kept.
  public let costs: [Cost?]
}

extension AtomicFileWriter {
  /// Writes a planned file as the whole content, which `finish()` puts at its path.
  ///
  /// - Parameters:
  ///   - run: makes the records; must start them in order for a compressed archive.
  ///   - progress: called with each record's tensor and source bytes, from any thread.
  /// - Throws: `ModelError` when reading or writing fails.
  @discardableResult
  public mutating func write<Cost: Sendable>(
    _ file: PlannedFile<Cost>, runningTasks run: @escaping TaskRunner = sequentially,
    progress: WriteProgress? = nil
  ) throws -> WrittenFile<Cost> {
    try preallocate(byteCount: file.knownByteCount)
    let writer = PlannedFileWriter(file, to: placement)
    let order = file.isFlowing ? Array(file.records.indices) : file.largestFirst
    let results = try writer.place(
      order, by: LocalWriting<Cost>(run: run), progress: progress
    ).sorted { $0.index < $1.index }
    let end = try writer.seal(results, clearsGaps: false)
    try advance(to: end)
    return WrittenFile(byteCount: end, costs: results.map(\.cost))
  }
}

extension PlannedFile {
  /// Writes the file, which appears whole at `path` or not at all.
  ///
  /// - Parameters:
  ///   - replacesExisting: whether to replace an existing file, which is an error otherwise.
  ///   - run: makes the records; must start them in order for a compressed archive.
  ///   - progress: called with each record's tensor and source bytes, from any thread.
  /// - Throws: `ModelError` when reading or writing fails.
  @discardableResult
  public func write(
    to path: String, replacesExisting: Bool = false,
    runningTasks run: @escaping TaskRunner = sequentially, progress: WriteProgress? = nil
  ) throws -> WrittenFile<Cost> {
    var writer = try AtomicFileWriter(path: path, replacesExisting: replacesExisting)
    let written = try locatingErrors(path: path) {
      try writer.write(self, runningTasks: run, progress: progress)
    }
    try writer.finish()
    return written
  }
}
