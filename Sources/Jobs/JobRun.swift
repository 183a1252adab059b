import Formats
import Foundation
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
  private let done: [RecordResult]
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

  /// - Throws: `FormatError` when sources are not as planned, when the output cannot be written or has
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
    let placing = RecordPlacing(conversion: conversion, output: output, threads: threads)
    let isMine = Set(share)
    done = try placing.confirmed(latestOf: (results ?? []).filter { isMine.contains($0.index) })
  }

  /// Makes the job's records.
  ///
  /// - Parameter progress: called with the bytes of each tensor done, from any thread.
  /// - Throws: `FormatError`, `TransformError`; what is done stays done.
  package func run(progress: WriteProgress? = nil) throws {
    _ = try RecordPlacing(conversion: conversion, output: output, threads: threads)
      .placeMissing(of: share, done: done, journal: journal, progress: progress)
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
