import Formats
import Glibc
import Storage
import Transform

/// One job's share of a planned conversion.
///
/// Jobs write into one partial file, each its own records, which never overlap; so it must lie on a
/// file system that all of them see. Beside it each job keeps a journal of its own, with which it can
/// be continued, and from which `JobCompletion` learns what is done.
package struct JobRun: Sendable {
  package let conversion: Conversion
  package let job: JobNumber
  private let output: PartialFile
  private let journal: ConversionJournal
  private let done: [RecordResult<QuantizationSummary>]
  private let share: [Int]
  private let threads: Int

  /// How many tensors of the share an earlier run has done.
  package var resumedCount: Int { done.count }
  package var recordCount: Int { share.count }

  /// What follows the output's path in those of jobs' journals, before the number.
  static let journalSuffix = ".job-"

  static func journalPath(of output: String, job: JobNumber) -> String {
    ConversionJournal.path(
      of: output, suffix: "\(journalSuffix)\(job.number)-of-\(job.count)")
  }

  /// - Throws: `ModelError` when sources are not as planned, when the output cannot be written or has
  ///   been begun by others, and when the job runs already.
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
    // With the lock nobody begins one.
    try EarlierWork.refuseConversion(of: plan.request.output)
    let head = JSONValue.object([
      "plan": .string(plan.fingerprint), "job": .integer(job.number), "jobs": .integer(job.count),
    ])
    let (journal, results) = try ConversionJournal.alone(
      at: path, head: head, refusal: "job \(job) is running already"
    ) { _ in throw EarlierWork.otherPlan(than: plan, journal: path) }
    self.journal = journal
    do {
      // Jobs share the lock. Each looks for those of other plans after it has said that it is there
      // itself, so that of two that begin at once at least one sees the other.
      try EarlierWork.refuseOtherPlans(
        than: plan, journal: path, areOthersBeginning: results == nil)
      try output.reserve(byteCount: conversion.file.recordsEnd)
    } catch  where results == nil {
      unlink(path)
      throw error
    }
    let writing = ConversionWriting(conversion: conversion, output: output, threads: threads)
    let isMine = Set(share)
    done = try writing.confirmed(latestOf: (results ?? []).filter { isMine.contains($0.index) })
  }

  /// Makes the job's records.
  ///
  /// - Parameter progress: called with the bytes of each tensor done, from any thread.
  /// - Throws: `ModelError`; what is done stays done.
  package func run(progress: WriteProgress? = nil) throws {
    _ = try ConversionWriting(
      conversion: conversion, output: output, threads: threads, journal: journal
    ).placeMissing(of: share, done: done, progress: progress)
    // Another machine will read it.
    try output.synchronize()
    try journal.synchronize()
  }

  /// Bytes that the job reads.
  package var sourceByteCount: Int {
    let records = conversion.file.records
    return share.reduce(0) { $0 + records[$1].sourceByteCount }
  }
}

/// How records are shared out to jobs.
package enum JobShare {
  /// The records of one job, those made from the most bytes first.
  ///
  /// Records are dealt out in that order, each to the job that has the fewest bytes so far, of equals
  /// the lowest. Every job works this out alone, and no job has more than the mean and the largest
  /// record together.
  package static func indices(of file: PlannedFile<some Sendable>, job: JobNumber) -> [Int] {
    all(of: file, count: job.count)[job.number - 1]
  }

  /// The records of every job.
  static func all(of file: PlannedFile<some Sendable>, count: Int) -> [[Int]] {
    let records = file.records
    // Jobs with what they have so far, as a heap: its first has the least.
    var heap = (0..<count).map { (bytes: 0, job: $0) }
    var shares = [[Int]](repeating: [], count: count)
    for index in file.largestFirst {
      shares[heap[0].job].append(index)
      // A tensor takes some time even where it has few bytes.
      heap[0].bytes += records[index].sourceByteCount + 4096
      sink(&heap)
    }
    return shares
  }

  private static func sink(_ heap: inout [(bytes: Int, job: Int)]) {
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count {
        if heap[child] < heap[least] { least = child }
      }
      guard least != parent else { return }
      heap.swapAt(parent, least)
      parent = least
    }
  }
}

/// Which of how many jobs a process is, counted from 1.
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

  /// What Slurm calls the number of a task of an array.
  package static let arrayTaskVariable = "SLURM_ARRAY_TASK_ID"

  /// The job that schedulers say in the environment: a task of a Slurm array, a rank of Open MPI or of
  /// a launcher that speaks PMI, or a task of `srun`. Ranks inside the tasks of an array are counted
  /// through.
  ///
  /// An array of one task, or with gaps, is often one of some tasks that run again: it does not say
  /// which of how many jobs they were.
  ///
  /// - Returns: `nil` where the environment says nothing, or nothing that makes sense.
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
