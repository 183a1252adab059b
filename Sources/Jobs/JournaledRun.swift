import Formats
import Foundation
import Synchronization
import Transform

/// A conversion by one process that can be interrupted at any moment and continued.
///
/// It writes `OUT.part` and `OUT.journal`; both are gone when `OUT` is there.
public struct JournaledRun: Sendable {
  public let conversion: Conversion
  private let output: PartialFile
  private let journal: ConversionJournal
  /// Records that are in the file already.
  private let done: [RecordResult]
  private let consumption: InputConsumption?
  private let threads: Int

  /// How many tensors an earlier run has done.
  public var resumedCount: Int { done.count }
  public var recordCount: Int { conversion.file.records.count }

  /// What is beside an output from an earlier run.
  public enum Earlier: Sendable {
    case none
    /// A run of the same request on the same files, to be continued.
    case resumable(ConversionPlan)
    /// Something that is of no use, and why.
    case other(reason: String)
  }

  /// Looks for what an earlier run left.
  ///
  /// - Throws: `FormatError` when the journal cannot be read, or when consumed files make it the only
  ///   copy of their content and it does not fit the request.
  public static func earlier(_ request: ConversionRequest) throws -> Earlier {
    let path = ConversionJournal.path(of: request.output)
    let content: JournalContent
    do {
      guard let found = try JournalContent(path: path) else { return .none }
      content = found
    } catch let error as FormatError {
      return .other(reason: "\(error)")
    }
    let reason: String
    do {
      let plan = try ConversionPlan(parsing: content.head)
      let absent = Set(content.consumedFiles)
      if !FileManager.default.fileExists(atPath: PartialFile.path(of: request.output)) {
        reason = "its partial file is gone"
      } else if plan.request != request {
        reason = "it is of another input or of other options"
      } else if let changed = plan.sources.first(where: {
        !absent.contains($0.path) && !$0.isUnchanged
      }) {
        reason = "\(changed.path) was changed since"
      } else {
        return .resumable(plan)
      }
    } catch {
      return .other(reason: "\(error)")
    }
    guard content.consumedFiles.isEmpty else {
      throw FormatError.unsupported(
        "\(reason), but it has the content of \(content.consumedFiles.count) files that were "
          + "consumed: repeat the command that wrote it, or remove it", path: path)
    }
    return .other(reason: reason)
  }

  /// Begins, in the place of whatever an earlier run left.
  ///
  /// - Parameters:
  ///   - consumption: how sources are deleted; `nil` to keep them.
  /// - Throws: `FormatError` when the output may not be replaced or the disk has not enough space.
  public init(
    beginning conversion: Conversion, replacesExisting: Bool, consumption: InputConsumption?,
    threads: Int
  ) throws {
    let plan = conversion.plan
    output = try PartialFile(
      for: plan.request.output, replacesExisting: replacesExisting, opening: .new)
    do {
      try output.reserve(byteCount: conversion.file.recordsEnd)
      journal = try ConversionJournal(
        beginningAt: ConversionJournal.path(of: plan.request.output), with: plan.json)
    } catch {
      output.remove()
      throw error
    }
    self.conversion = conversion
    self.consumption = consumption
    self.threads = threads
    done = []
  }

  /// Goes on where an earlier run stopped.
  ///
  /// - Parameters:
  ///   - plan: as `earlier` found it.
  ///   - consumes: whether sources are deleted, as in the earlier run.
  /// - Throws: `FormatError` when another process is at it, or files are not as they were.
  public init(
    continuing plan: ConversionPlan, access: InputFile.Access, replacesExisting: Bool,
    consumes: Bool, threads: Int
  ) throws {
    let path = ConversionJournal.path(of: plan.request.output)
    output = try PartialFile(
      for: plan.request.output, replacesExisting: replacesExisting, opening: .existing)
    // Read with the partial file locked, so that nobody appends to it.
    guard let content = try JournalContent(path: path) else {
      throw FormatError.malformed("the journal is gone", path: path)
    }
    // What is there as it was can be read, and will be consumed again.
    let absent = InputConsumption.absentFiles(of: plan, among: content.consumedFiles)
    conversion = try Conversion(
      continuing: plan, access: access, absentFiles: absent, threads: threads)
    let placing = RecordPlacing(conversion: conversion, output: output, threads: threads)
    var latest: [Int: RecordResult] = [:]
    for result in content.results { latest[result.index] = result }
    done = try placing.confirmed(latest.values.sorted { $0.index < $1.index })
    journal = try ConversionJournal(
      continuingAt: path, wholeByteCount: content.wholeByteCount)
    consumption = consumes ? try InputConsumption(conversion, absentFiles: absent) : nil
    self.threads = threads
    try output.reserve(byteCount: conversion.file.recordsEnd)
  }

  /// Makes what is missing, and seals the file.
  ///
  /// - Parameter progress: called with the bytes of each tensor done, from any thread; at once for
  ///   those that an earlier run did.
  /// - Throws: `FormatError`; the journal stays, so that the run can be continued. `TransformError` for
  ///   weights that cannot be quantized, ever: then nothing stays, unless inputs were to be consumed.
  public func finish(progress: WriteProgress? = nil) throws -> ConversionOutcome {
    do {
      return try completed(progress: progress)
    } catch let error as TransformError where consumption == nil {
      output.remove()
      journal.remove()
      throw error
    }
  }

  private func completed(progress: WriteProgress?) throws -> ConversionOutcome {
    let records = conversion.file.records
    let placing = RecordPlacing(conversion: conversion, output: output, threads: threads)
    let results = Mutex(done)
    for result in done {
      progress?(records[result.index].name, records[result.index].sourceByteCount)
    }
    try consume(done.map(\.index))
    let isDone = Set(done.map(\.index))
    try placing.place(conversion.file.largestFirst.filter { !isDone.contains($0) }) { result in
      try journal.append(result.json())
      results.withLock { $0.append(result) }
      progress?(records[result.index].name, records[result.index].sourceByteCount)
      try consume([result.index])
    }
    let outcome = try placing.finish(results.withLock { $0 })
    journal.remove()
    try consumption?.deleteWhole(conversion.plan)
    return outcome
  }

  /// Deletes the sources that the records at `indices` were the last ones of.
  private func consume(_ indices: [Int]) throws {
    try consumption?.complete(indices) { path in
      try output.synchronize()
      try journal.append(.object(["consumed": .string(path)]))
      try journal.synchronize()
    }
  }
}
