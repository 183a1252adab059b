import FoundationEssentials
import Glibc
import Ranks
import Storage
import Transform

/// Checks the results of a plan's jobs and seals the file.
package struct JobCompletion: Sendable {
  private let plan: ConversionPlan
  private let access: InputFile.Access
  private let threads: Int

  /// - Parameter threads: at least 1.
  package init(_ plan: ConversionPlan, access: InputFile.Access, threads: Int) {
    self.plan = plan
    self.access = access
    self.threads = threads
  }

  private struct Job {
    let number: JobNumber
    let path: String
    let results: [RecordNote]
  }

  /// - Parameter replacesExisting: whether to replace an existing output.
  /// - Throws: `ModelError` that names the jobs that are missing or whose records are not in the
  ///   file as noted, and when the output cannot be written.
  package func finish(replacesExisting: Bool) throws -> ConversionOutcome {
    let conversion = try Conversion(continuing: plan, access: access, threads: threads)
    let begun = try jobs()
    guard !begun.isEmpty else {
      let isThere = FileManager.default.fileExists(atPath: plan.request.output)
      let error = ModelError.malformed(
        isThere
          ? "no job of this plan has run since this file was sealed"
          : "no job of this plan has run", path: plan.request.output)
      throw isThere ? error : error.offering(.jobs)
    }
    try EarlierWork.refuseConversion(of: plan.request.output)
    let output = try partialFile(of: begun, replacesExisting: replacesExisting)
    // While the lock is held no job runs, so the journals are final.
    let jobs = try jobs()
    let writing = ConversionWriting(
      conversion: conversion, output: output, workers: Workers(threads: threads))
    let found = try writing.confirmed(latestOf: jobs.flatMap(\.results))
    let missing = Set(conversion.file.records.indices).subtracting(found.map(\.index))
    guard missing.isEmpty else { throw incomplete(missing, of: conversion, jobs) }
    let outcome = try writing.finish(found, wasEmpty: false)
    for job in jobs { unlink(job.path) }
    return outcome
  }

  private func partialFile(of jobs: [Job], replacesExisting: Bool) throws -> PartialFile {
    do {
      return try PartialFile(
        for: plan.request.output, replacesExisting: replacesExisting, opening: .existing)
    } catch let error as ModelError {
      guard case .system(_, ENOENT) = error.problem, let path = error.path else { throw error }
      let names = jobs.prefix(8).map(\.number.description).joined(separator: ", ")
      throw ModelError.malformed(
        "it is gone, along with the work of \(jobs.count == 1 ? "job" : "jobs") \(names)"
          + "\(jobs.count > 8 ? " and \(jobs.count - 8) more" : ""): run all jobs again",
        path: path)
    }
  }

  /// Returns the jobs of this plan that have left a journal.
  private func jobs() throws -> [Job] {
    let fingerprint = JSONValue.string(plan.fingerprint)
    return try EarlierWork.jobJournals(of: plan.request.output)
      .compactMap { path in
        guard let content = try JournalContent(path: path),
          case .object(let head)? = content.head, head["plan"] == fingerprint,
          case .integer(let number)? = head["job"], case .integer(let count)? = head["jobs"],
          let job = JobNumber(number, of: count)
        else { return nil }
        return Job(number: job, path: path, results: content.results)
      }
  }

  private func incomplete(
    _ missing: Set<Int>, of conversion: Conversion, _ jobs: [Job]
  ) -> ModelError {
    let count = jobs.map(\.number.count).max() ?? 1
    let unfinished = JobShare.all(of: conversion.file, count: count).enumerated()
      .filter { $1.contains(where: missing.contains) }
      .compactMap { JobNumber($0.offset + 1, of: count) }
    let names = unfinished.prefix(8).map(\.description).joined(separator: ", ")
    let more = unfinished.count > 8 ? " and \(unfinished.count - 8) more" : ""
    return ModelError.malformed(
      "\(missing.count) of \(counted(conversion.file.records.count, "record")) are missing; run "
        + "\(unfinished.count == 1 ? "job" : "jobs") \(names)\(more)",
      path: plan.request.output)
  }
}
