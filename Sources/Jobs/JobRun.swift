import Formats
import Glibc
import HeapModule
import Ranks
import Storage
import Transform

/// One job's share of a planned conversion.
///
/// All jobs write into one partial file, each its own records, which never overlap; the file must
/// lie on a file system that all of them share. Beside it each job keeps its own journal, from
/// which it can be continued and `JobCompletion` learns what is done.
package struct JobRun: Sendable {
  package let conversion: Conversion
  package let job: JobNumber
  private let output: PartialFile
  private let journal: ConversionJournal
  private let done: [RecordResult<QuantizationSummary>]
  private let share: [Int]
  private let threads: Int

  /// The number of tensors of the share that an earlier run has done.
  package var resumedCount: Int { conversion.file.tensorRecordCount(of: done.map(\.index)) }
  package var recordCount: Int { conversion.file.tensorRecordCount(of: share) }

  /// The part of a job journal's path between the output's path and the job's number.
  static let journalSuffix = ".job-"

  static func journalPath(of output: String, job: JobNumber) -> String {
    ConversionJournal.path(
      of: output, suffix: "\(journalSuffix)\(job.number)-of-\(job.count)")
  }

  /// - Throws: `ModelError` when sources have changed, the output cannot be written or has been
  ///   begun by another conversion, or the job is already running.
  package init(
    _ plan: ConversionPlan, job: JobNumber, replacesExisting: Bool, access: InputFile.Access,
    threads: Int
  ) throws {
    let path = Self.journalPath(of: plan.request.output, job: job)
    try EarlierWork.refuseConversion(of: plan.request.output)
    try EarlierWork.refuseOtherPlans(than: plan, journal: path)
    conversion = try Conversion(continuing: plan, access: access, threads: threads)
    self.job = job
    self.threads = threads
    share = JobShare.indices(of: conversion.file, job: job)
    output = try PartialFile(
      for: plan.request.output, replacesExisting: replacesExisting, opening: .either, lock: .shared)
    // While the lock is held, no conversion can begin.
    try EarlierWork.refuseConversion(of: plan.request.output)
    let head = JSONValue.object([
      "plan": .string(plan.fingerprint), "job": .integer(job.number), "jobs": .integer(job.count),
    ])
    let (journal, results) = try ConversionJournal.alone(
      at: path, head: head, refusal: "job \(job) is already running"
    ) { _ in throw EarlierWork.otherPlan(than: plan, journal: path) }
    self.journal = journal
    do {
      // Jobs share the lock. Each writes its own journal before it looks for those of other plans,
      // so when two begin at once, at least one sees the other.
      try EarlierWork.refuseOtherPlans(
        than: plan, journal: path, areOthersBeginning: results == nil)
      try output.reserve(byteCount: conversion.file.recordsEnd)
    } catch  where results == nil {
      unlink(path)
      throw error
    }
    let writing = ConversionWriting(
      conversion: conversion, output: output, workers: Workers(threads: threads))
    let isMine = Set(share)
    done = try writing.confirmed(latestOf: (results ?? []).filter { isMine.contains($0.index) })
  }

  /// Makes the job's records.
  ///
  /// - Parameter progress: called with the bytes of each finished tensor, from any thread.
  /// - Throws: `ModelError`; finished records are kept.
  package func run(progress: WriteProgress? = nil) throws {
    _ = try ConversionWriting(
      conversion: conversion, output: output, workers: Workers(threads: threads), journal: journal
    ).placeMissing(of: share, done: done, progress: progress)
    // Another machine may read the files.
    try output.synchronize()
    try journal.synchronize()
  }

  /// The number of bytes that the job reads.
  package var sourceByteCount: Int {
    let records = conversion.file.records
    return share.reduce(0) { $0 + records[$1].sourceByteCount }
  }
}

/// The division of records among jobs.
package enum JobShare {
  /// Returns the records of one job by decreasing source bytes.
  ///
  /// Records are assigned in that order, each to the job with the fewest bytes so far or, among
  /// equals, the lowest number. Every job computes this on its own, and no job gets more than the
  /// mean plus the largest record.
  package static func indices(of file: PlannedFile<some Sendable>, job: JobNumber) -> [Int] {
    all(of: file, count: job.count)[job.number - 1]
  }

  /// Returns the records of every job.
  static func all(of file: PlannedFile<some Sendable>, count: Int) -> [[Int]] {
    let records = file.records
    var loads = Heap((0..<count).map { Load(byteCount: 0, job: $0) })
    var shares = [[Int]](repeating: [], count: count)
    for index in file.largestFirst {
      guard var least = loads.min else { return [] }
      shares[least.job].append(index)
      // Even a small tensor takes some time.
      least.byteCount += records[index].sourceByteCount + 4096
      loads.replaceMin(with: least)
    }
    return shares
  }

  /// The bytes that a job has been given so far.
  private struct Load: Comparable {
    var byteCount: Int
    let job: Int

    static func < (a: Load, b: Load) -> Bool { (a.byteCount, a.job) < (b.byteCount, b.job) }
  }
}

/// The number of a job, counted from 1, and the number of jobs.
package struct JobNumber: Hashable, Sendable, CustomStringConvertible {
  package let number: Int
  package let count: Int

  /// The largest number of jobs.
  package static let limit = 1_000_000

  /// - Returns: `nil` unless `1 ≤ number ≤ count ≤ limit`.
  package init?(_ number: Int, of count: Int) {
    guard number >= 1, number <= count, count <= Self.limit else { return nil }
    self.number = number
    self.count = count
  }

  /// Reads `3/16`.
  package init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let number = Int(parts[0]), let count = Int(parts[1]) else {
      return nil
    }
    self.init(number, of: count)
  }

  package var description: String { "\(number)/\(count)" }

  /// Slurm's environment variable for the number of a task of an array.
  package static let arrayTaskVariable = "SLURM_ARRAY_TASK_ID"

  /// Reads the job from a scheduler's environment variables: a task of a Slurm array, a rank of
  /// Open MPI or of a launcher that supports PMI, or a task of `srun`. Ranks within the tasks of an
  /// array are numbered consecutively.
  ///
  /// An array with one task or with gaps often reruns a few tasks, so it does not tell the original
  /// number of jobs.
  ///
  /// - Returns: `nil` if the environment names no job or an inconsistent one.
  package init?(environment: [String: String]) {
    func value(_ name: String) -> Int? { environment[name].flatMap { Int($0) } }
    func place(_ rank: String, _ size: String) -> (index: Int, count: Int)? {
      guard let index = value(rank), let count = value(size), count >= 1, (0..<count) ~= index
      else { return nil }
      return (index, count)
    }
    var array: (index: Int, count: Int)?
    if let task = environment[Self.arrayTaskVariable] {
      let step = value("SLURM_ARRAY_TASK_STEP") ?? 1
      guard let task = Int(task), let count = value("SLURM_ARRAY_TASK_COUNT"),
        let first = value("SLURM_ARRAY_TASK_MIN"), first >= 0, step >= 1, count >= 2,
        task >= first, (task - first).isMultiple(of: step), (task - first) / step < count,
        value("SLURM_ARRAY_TASK_MAX").map({ ($0 - first) / step == count - 1 }) ?? true
      else { return nil }
      array = ((task - first) / step, count)
    }
    let rank =
      place("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE") ?? place("PMI_RANK", "PMI_SIZE")
      ?? place("SLURM_PROCID", "SLURM_NTASKS")
    switch (array, rank) {
    case (nil, nil): return nil
    case (let only?, nil), (nil, let only?): self.init(only.index + 1, of: only.count)
    case (let array?, let rank?):
      let (count, overflow) = array.count.multipliedReportingOverflow(by: rank.count)
      guard !overflow, count <= Self.limit else { return nil }
      self.init(array.index * rank.count + rank.index + 1, of: count)
    }
  }
}
