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
    "\(output)\(journalSuffix)\(job.number)-of-\(job.count)"
  }

  /// - Throws: `FormatError` when sources are not as planned, and when the output cannot be written.
  package init(
    _ plan: ConversionPlan, job: JobNumber, replacesExisting: Bool, access: InputFile.Access,
    threads: Int
  ) throws {
    conversion = try Conversion(continuing: plan, access: access, threads: threads)
    self.job = job
    self.threads = threads
    share = JobShare.indices(of: conversion.file, job: job)
    output = try PartialFile(
      for: plan.request.output, replacesExisting: replacesExisting, opening: .either, lock: .shared)
    try output.reserve(byteCount: conversion.file.recordsEnd)
    let path = Self.journalPath(of: plan.request.output, job: job)
    let head = JSONValue.object([
      "plan": .string(plan.fingerprint), "job": .integer(job.number), "jobs": .integer(job.count),
    ])
    if let content = try? JournalContent(path: path), content.head == head {
      let placing = RecordPlacing(conversion: conversion, output: output, threads: threads)
      let isMine = Set(share)
      done = try placing.confirmed(latestOf: content.results.filter { isMine.contains($0.index) })
      journal = try ConversionJournal(
        continuingAt: path, wholeByteCount: content.wholeByteCount)
    } else {
      done = []
      journal = try ConversionJournal(beginningAt: path, with: head)
    }
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
    share.reduce(0) { $0 + conversion.file.records[$1].sourceByteCount }
  }
}
