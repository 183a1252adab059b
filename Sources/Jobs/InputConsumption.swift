import Formats
import Glibc
import OrderedCollections
import Storage
import Synchronization
import Transform

/// Deletes each source when every tensor in it is safely in the output's partial file.
///
/// Sources are used up one after another: no source is read until the one two before it has been
/// deleted. The space that the output needs beyond what the input has freed is thus known, and
/// small.
///
/// Until the output is whole, the content of deleted sources exists only in the partial file, and
/// only the journal beside it says where. Losing either of them loses that content.
package struct InputConsumption: Sendable {
  /// The sources that are deleted one by one, in the order in which they are used up; empty for a
  /// model in a single file.
  let files: [String]
  /// The indices in `files` of the sources of each record.
  private let filesOfRecord: [[Int]]
  private let records: [PlannedRecord<QuantizationSummary>]
  private let progress: Progress

  /// - Parameters:
  ///   - archive: the whole model.
  /// - Throws: `ModelError` when deleting a source would lose something or free nothing.
  package init(_ conversion: Conversion, of archive: TensorArchive) throws {
    try Self.check(conversion, archive)
    self.init(conversion, fileOfTensor: archive.fileOfTensor)
  }

  /// Returns the sources among `paths` that are gone, and deletes those that were only emptied.
  ///
  /// - Parameter others: whether to include other sources that are gone: the journal may have lost
  ///   the line about them, and their records are checked anyway.
  static func absentFiles(
    of plan: ConversionPlan, among paths: [String], orGone others: Bool
  ) -> Set<String> {
    let absent = plan.sources
      .filter { paths.contains($0.path) && !$0.isUnchanged || others && $0.isGone }.map(\.path)
    // A file without a line may be about to be put back.
    for path in absent
    where paths.contains(path) && (try? SourceFile(path: path))?.byteCount == 0 { unlink(path) }
    return Set(absent)
  }

  /// Continues the deletion of an earlier run of the same conversion.
  init(_ conversion: Conversion, absentFiles: Set<String>) throws {
    let path = conversion.plan.sources.first?.path ?? conversion.plan.request.input
    guard conversion.plan.sources.count > 1 else {
      self.init(conversion, fileOfTensor: [:])
      return
    }
    let archive = try ShardedFormat(absentFiles: absentFiles)
      .read(InputFile(path: path, access: .read))
    try Self.check(conversion, archive, absentFiles: absentFiles)
    self.init(conversion, fileOfTensor: archive.fileOfTensor)
  }

  private init(_ conversion: Conversion, fileOfTensor: [String: String]) {
    records = conversion.file.records
    let used = Set(records.lazy.flatMap(\.names).compactMap { fileOfTensor[$0] })
    let files = OrderedSet(conversion.plan.sources.map(\.path)).filter(used.contains)
    let places = Dictionary(uniqueKeysWithValues: files.enumerated().map { ($1, $0) })
    filesOfRecord = records.map { record in
      Set(record.names.compactMap { fileOfTensor[$0].flatMap { places[$0] } }).sorted()
    }
    self.files = Array(files)
    progress = Progress(filesOfRecord, fileCount: files.count)
  }

  // MARK: The order of work

  /// Returns the index of the file in whose turn a record is made: the first of its sources.
  private func turn(of index: Int) -> Int { filesOfRecord[index].first ?? 0 }

  /// The records' indices, file after file, and by decreasing source bytes within each.
  var order: [Int] {
    records.indices.sorted {
      (turn(of: $0), -records[$0].sourceByteCount, $0)
        < (turn(of: $1), -records[$1].sourceByteCount, $1)
    }
  }

  /// Returns the most bytes by which the growth of the partial file ever exceeds the space freed so
  /// far.
  ///
  /// - Parameters:
  ///   - done: records that are in the partial file already.
  ///   - freedByteCount: returns the bytes that deleting a source frees on the output's disk.
  func largestGrowth(done: Set<Int>, freedByteCount: (_ path: String) -> Int) -> Int {
    var written = [Int](repeating: 0, count: files.count)
    var isNeeded = [Bool](repeating: false, count: files.count)
    for index in records.indices where !done.contains(index) && !files.isEmpty {
      written[turn(of: index)] += records[index].byteCount
      for place in filesOfRecord[index] { isNeeded[place] = true }
    }
    // Files whose records are all done are deleted before anything is written.
    let used = files.indices.filter { !isNeeded[$0] }
    var growth = -used.reduce(0) { $0 + freedByteCount(files[$1]) }
    var largest = 0
    let left = files.indices.filter { isNeeded[$0] }
    growth += left.first.map { written[$0] } ?? 0
    for (position, place) in left.enumerated() {
      // While a file still exists, records of the next one may already be written.
      if position + 1 < left.count { growth += written[left[position + 1]] }
      largest = max(largest, growth)
      growth -= freedByteCount(files[place])
    }
    return largest
  }

  // MARK: Deleting

  /// Makes a record when its turn has come, and deletes the files whose records are then all done.
  ///
  /// Records must be begun in `order`, on any number of threads.
  ///
  /// - Parameters:
  ///   - prepare: called before a file is deleted, to make its content durable elsewhere.
  ///   - make: makes and writes the record.
  func making<Result>(
    _ index: Int, preparing prepare: (_ path: String) throws -> Void, _ make: () throws -> Result
  ) throws -> Result {
    try progress.waitForTurn(turn(of: index))
    do {
      let result = try make()
      try complete([index], preparing: prepare)
      return result
    } catch {
      progress.abandon()
      throw error
    }
  }

  /// Notes that records are written, and deletes the files whose records are all done.
  func complete(_ indices: [Int], preparing prepare: (_ path: String) throws -> Void) throws {
    for place in progress.completed(by: indices.lazy.flatMap { filesOfRecord[$0] }) {
      try progress.deleting(place) {
        try prepare(files[place])
        try Self.delete(files[place])
      }
    }
  }

  /// The progress through the files, for threads that wait for their turn.
  // Sendable: its variables are accessed only under the condition's lock.
  private final class Progress: @unchecked Sendable {
    private let condition = Condition()
    /// Held while a file is deleted.
    private let deletion = Mutex(())
    /// The number of records still to be made, by file.
    private var missingCounts: [Int]
    private var isDeleted: [Bool]
    /// The first file that still exists.
    private var first = 0
    private var isAbandoned = false

    init(_ filesOfRecord: [[Int]], fileCount: Int) {
      missingCounts = [Int](repeating: 0, count: fileCount)
      isDeleted = [Bool](repeating: false, count: fileCount)
      for place in filesOfRecord.joined() { missingCounts[place] += 1 }
    }

    /// - Throws: `CancellationError` when an earlier record failed.
    func waitForTurn(_ turn: Int) throws {
      try condition.withLock {
        while turn > first + 1 {
          if isAbandoned { throw CancellationError() }
          condition.wait()
        }
      }
    }

    /// - Returns: the files whose records are now all done.
    func completed(by places: some Sequence<Int>) -> [Int] {
      condition.withLock {
        places.filter { place in
          missingCounts[place] -= 1
          return missingCounts[place] == 0
        }
      }
    }

    /// Deletes a file, one at a time and never after a failure: when a disk fails, only the first
    /// attempt to make bytes durable reports it, and later ones succeed.
    func deleting(_ place: Int, _ body: () throws -> Void) throws {
      try deletion.withLock { _ in
        guard !condition.withLock({ isAbandoned }) else { throw CancellationError() }
        do {
          try body()
        } catch {
          abandon()
          throw error
        }
      }
      condition.withLock {
        isDeleted[place] = true
        while first < isDeleted.count, isDeleted[first] { first += 1 }
        condition.broadcast()
      }
    }

    func abandon() {
      condition.withLock {
        isAbandoned = true
        condition.broadcast()
      }
    }
  }

  /// Deletes a model in a single file, once the output has its name.
  func deleteWhole(_ plan: ConversionPlan) throws {
    guard plan.sources.count == 1, let source = plan.sources.first else { return }
    try Self.delete(source.path)
  }

  /// Frees the file's space even though this process still has it open, then removes its name.
  private static func delete(_ path: String) throws {
    guard truncate(path, 0) == 0, unlink(path) == 0 else {
      throw ModelError(.system(operation: "delete the consumed file", code: errno), path: path)
    }
  }

  private static func check(
    _ conversion: Conversion, _ archive: TensorArchive, absentFiles: Set<String> = []
  ) throws {
    let plan = conversion.plan
    func refused(_ reason: String, path: String) -> ModelError {
      ModelError.unsupported("\(reason), so it is not consumed", path: path)
    }
    guard plan.root == nil else {
      throw refused("only a part of it is taken", path: plan.request.input)
    }
    guard plan.request.format != NPYFormat().identifier.name else {
      throw refused("the output does not keep its tensor's name", path: plan.request.input)
    }
    for (position, source) in plan.sources.enumerated() where !absentFiles.contains(source.path) {
      var status = stat()
      guard lstat(source.path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
        throw refused("it is not a regular file", path: source.path)
      }
      guard status.st_nlink == 1 else {
        throw refused("it has other hard links, which keep its space in use", path: source.path)
      }
      guard realpath(source.path) != realpath(plan.request.output) else {
        throw refused("it is the output", path: source.path)
      }
      // The index of a sharded checkpoint stays.
      if position == 0, plan.sources.count > 1 { continue }
      let folder = OutputDestination.folder(of: source.path)
      guard access(source.path, W_OK) == 0, access(folder, W_OK) == 0 else {
        throw refused("it cannot be deleted", path: source.path)
      }
      let file = try InputFile(path: source.path, access: .read)
      guard SafetensorsFormat().recognizes(file) else {
        throw refused(
          "it is not a safetensors file, and may hold more than tensors", path: source.path)
      }
    }
    if let group = archive.groups.first(where: \.isAssembled) {
      throw refused(
        "'\(group.name)' is put together from several tensors", path: plan.request.input)
    }
    let left = archive.tensors.keys.first { plan.tensors[$0] == nil }
    if let left {
      throw refused(
        "the conversion leaves out its tensor '\(left)'", path: plan.request.input)
    }
    let used = Set(archive.fileOfTensor.values)
    if plan.sources.count > 1,
      let idle = plan.sources.dropFirst().first(where: {
        !absentFiles.contains($0.path) && !used.contains($0.path)
      })
    {
      throw refused("no tensor is taken from it", path: idle.path)
    }
    // When files are absent, reading the others produces a remark about them.
    let remarks = archive.remarks
    guard remarks.isEmpty || archive.unread.isEmpty && !absentFiles.isEmpty else {
      throw refused(
        "reading it produced a remark: \(remarks[0])", path: plan.request.input)
    }
  }

  /// Returns the path with all links resolved; `nil` if nothing exists there.
  private static func realpath(_ path: String) -> String? {
    guard let resolved = Glibc.realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return String(cString: resolved)
  }
}
