import Formats
import FoundationEssentials
import Ranks
import Storage
import Transform

/// A conversion by one process or by all ranks of a group, which writes `OUT.part` until that is
/// whole and becomes `OUT`.
///
/// With a journal, `OUT.journal` and another one per rank, it can be interrupted at any moment and
/// continued, even by a different number of ranks. Without one, an interrupted run leaves nothing.
package struct ConversionRun: Sendable {
  package let conversion: Conversion
  private let output: PartialFile
  private let journal: ConversionJournal?
  /// The records that are in the file already.
  private let done: [RecordResult<QuantizationSummary>]
  /// Whether the partial file has never held anything else.
  private let beganEmpty: Bool
  private let consumption: InputConsumption?
  private let access: InputFile.Access
  private let workers: Workers

  /// The number of tensors that an earlier run has done.
  package var resumedCount: Int { conversion.file.tensorRecordCount(of: done.map(\.index)) }
  package var recordCount: Int {
    conversion.file.tensorRecordCount(of: conversion.file.records.indices)
  }

  /// The remains of an earlier run beside an output.
  package enum Earlier: Sendable {
    case none
    /// A run of the same request on the same files, to be continued.
    case resumable(ConversionPlan)
    /// Remains that cannot be used, and why.
    case other(reason: String)
  }

  /// Looks for the remains of an earlier run.
  ///
  /// - Parameter consumes: whether the request is to consume sources, so that some may be gone.
  /// - Throws: `ModelError` when the journal cannot be read, or when files have been consumed and
  ///   the journal, which their content depends on, is damaged or does not fit the request.
  package static func earlier(
    _ request: ConversionRequest, consumes: Bool = false
  ) throws -> Earlier {
    let path = ConversionJournal.path(of: request.output)
    guard let content = try JournalContent(path: path) else { return .none }
    let plan: ConversionPlan
    do {
      plan = try content.plan()
    } catch {
      try content.refuseToDiscard("\(error)", path: path)
      return .other(reason: "\(error)")
    }
    PartialFile.removeName(ofFinished: request.output)
    let isPartial = FileManager.default.fileExists(atPath: PartialFile.path(of: request.output))
    if try !isPartial && FinishedOutput.isThere(of: plan, content) {
      ConversionJournal.removeAll(of: request.output)
      guard content.consumedFiles.isEmpty else {
        throw ModelError.unsupported(
          "an earlier run finished it and consumed its input", path: request.output)
      }
      return .none
    }
    guard isPartial || content.consumedFiles.isEmpty else {
      throw ModelError.unsupported(
        "its partial file is gone, and with it the content of "
          + "\(counted(content.consumedFiles.count, "consumed file")): remove the journal to begin anew without them",
        path: path)
    }
    try content.refuseDamage(of: plan, path: path)
    let absent = Set(content.consumedFiles)
    let reason: String
    if !isPartial {
      reason = "its partial file is gone"
    } else if plan.request != request {
      reason = "it belongs to another input or to other options"
    } else if let changed = plan.sources.first(where: {
      !absent.contains($0.path) && !$0.isUnchanged && !(consumes && $0.isGone)
    }) {
      reason = "\(changed.path) has changed since"
    } else {
      return .resumable(plan)
    }
    try content.refuseToDiscard(reason, path: path)
    return .other(reason: reason)
  }

  /// Begins a run, discarding the remains of any earlier one.
  ///
  /// - Parameters:
  ///   - keepsJournal: whether the run can be continued.
  ///   - consumption: how sources are deleted; `nil` to keep them. It requires the journal and a
  ///     single process.
  ///   - access: how the other ranks open the sources.
  ///   - workers: their ranks are a group in which this process is rank 0.
  /// - Throws: `ModelError` when the output may not be replaced, jobs have begun it, or the disk
  ///   lacks the space.
  package init(
    beginning conversion: Conversion, replacesExisting: Bool, keepsJournal: Bool,
    consumption: InputConsumption?, access: InputFile.Access, workers: Workers
  ) throws {
    precondition(
      consumption == nil || keepsJournal && !workers.ranks.isShared, "the journal is needed")
    let plan = conversion.plan
    try EarlierWork.refuseAny(of: plan.request.output)
    output = try PartialFile(
      for: plan.request.output, replacesExisting: replacesExisting, opening: .either,
      staysOnSignals: keepsJournal)
    // Checked again with the partial file locked, when nothing else can begin.
    try EarlierWork.refuseAny(of: plan.request.output)
    try output.empty()
    ConversionJournal.removeAll(of: plan.request.output)
    do {
      try Self.makeRoom(for: conversion, in: output, consumption: consumption)
      journal =
        keepsJournal
        ? try ConversionJournal(
          beginningAt: ConversionJournal.path(of: plan.request.output), with: plan.json) : nil
    } catch {
      output.remove()
      throw error
    }
    self.conversion = conversion
    self.consumption = consumption
    self.access = access
    self.workers = workers
    done = []
    beganEmpty = true
  }

  /// Continues where an earlier run stopped.
  ///
  /// - Parameters:
  ///   - plan: the plan that `earlier` found.
  ///   - consumes: whether sources are deleted, as in the earlier run.
  ///   - workers: as before; the earlier run may have had others.
  /// - Throws: `ModelError` when another process is writing the output, files have changed, or the
  ///   partial file has lost the content of consumed files.
  package init(
    continuing plan: ConversionPlan, access: InputFile.Access, replacesExisting: Bool,
    consumes: Bool, workers: Workers
  ) throws {
    let path = ConversionJournal.path(of: plan.request.output)
    output = try PartialFile(
      for: plan.request.output, replacesExisting: replacesExisting, opening: .existing)
    // Read with the partial file locked, so that no process appends to it.
    guard let content = try JournalContent(path: path) else {
      throw ModelError.malformed("the journal is gone", path: path)
    }
    // Sources that are unchanged can be read, and will be consumed again.
    let absent = InputConsumption.absentFiles(
      of: plan, among: content.consumedFiles, orGone: consumes)
    guard absent.isEmpty || !workers.ranks.isShared else {
      throw ModelError.unsupported(
        "files of the input have been consumed, so only a single process can continue", path: path
      )
    }
    conversion = try Conversion(
      continuing: plan, access: access, absentFiles: absent, threads: workers.threads)
    let writing = ConversionWriting(conversion: conversion, output: output, workers: workers)
    if consumes { output.forgetCache() }
    done = try writing.confirmed(
      latestOf: content.results + RankShare.results(of: plan))
    // This must precede any further consumption.
    try Self.checkConsumed(
      conversion, done: done, in: output, consumed: Set(content.consumedFiles))
    journal = try ConversionJournal(
      continuingAt: path, wholeByteCount: content.wholeByteCount)
    beganEmpty = false
    consumption = consumes ? try InputConsumption(conversion, absentFiles: absent) : nil
    self.access = access
    self.workers = workers
    try Self.makeRoom(
      for: conversion, in: output, done: Set(done.map(\.index)), consumption: consumption)
  }

  /// Reserves the space of all records. If shards are consumed, the file grows as records are made,
  /// so this only checks that there will be enough space.
  ///
  /// - Throws: `ModelError` when the disk lacks the space.
  private static func makeRoom(
    for conversion: Conversion, in output: PartialFile, done: Set<Int> = [],
    consumption: InputConsumption?
  ) throws {
    guard let consumption, !consumption.files.isEmpty else {
      return try output.reserve(byteCount: conversion.file.recordsEnd)
    }
    let growth = consumption.largestGrowth(
      done: done, freedByteCount: output.byteCountFreed(byDeleting:))
    try output.requireSpace(toGrowBy: growth, upTo: conversion.file.recordsEnd)
  }

  /// - Parameter files: the files that are consumed according to the journal.
  /// - Throws: `ModelError` when a record is not in the partial file and cannot be made again.
  private static func checkConsumed(
    _ conversion: Conversion, done: [RecordResult<QuantizationSummary>], in output: PartialFile,
    consumed files: Set<String>
  ) throws {
    let isDone = Set(done.map(\.index))
    let lost = conversion.file.records.enumerated()
      .filter { !isDone.contains($0) && !conversion.absentTensors.isDisjoint(with: $1.names) }
    guard let first = lost.first else { return }
    // A file that was only moved can be put back.
    if let moved = conversion.plan.sources.first(where: { $0.isGone && !files.contains($0.path) }) {
      throw ModelError.unsupported(
        "it is gone, and no journal says that it was consumed: put it back", path: moved.path)
    }
    let total = conversion.file.tensorRecordCount(of: conversion.file.records.indices)
    throw ModelError.malformed(
      "it does not match its journal, and the file that held the tensor has been consumed; "
        + "\(lost.count) of \(counted(total, "tensor")) are lost, and "
        + "nothing more is consumed",
      path: output.path, tensor: first.element.name)
  }

  /// Makes the missing records and seals the file. Meanwhile the other ranks call `RankShare.join`.
  ///
  /// - Parameter progress: called with the bytes of each finished tensor, from any thread;
  ///   immediately for those that an earlier run did.
  /// - Throws: `ModelError`; a journal stays, so that the run can be continued. If the error is
  ///   `isUnsuitable`, for weights that can never be quantized, nothing stays unless inputs were to
  ///   be consumed.
  package func finish(progress: WriteProgress? = nil) throws -> ConversionOutcome {
    do {
      return try completed(progress: progress)
    } catch
      where journal == nil
      || (error as? ModelError)?.isUnsuitable == true && consumption == nil
    {
      output.remove()
      ConversionJournal.removeAll(of: conversion.plan.request.output)
      throw error
    }
  }

  private func completed(progress: WriteProgress?) throws -> ConversionOutcome {
    if workers.ranks.isShared {
      _ = try workers.ranks.broadcast(
        RankShare(
          of: conversion.plan, done: done.map(\.index), keepsJournal: journal != nil,
          access: access, threads: workers.threads))
    }
    let writing = ConversionWriting(
      conversion: conversion, output: output, workers: workers, journal: journal,
      consumption: consumption)
    let results = try writing.placeMissing(
      of: consumption?.order ?? conversion.file.largestFirst, done: done, progress: progress)
    let outcome = try writing.finish(results, wasEmpty: beganEmpty)
    ConversionJournal.removeAll(of: conversion.plan.request.output)
    try consumption?.deleteWhole(conversion.plan)
    return outcome
  }
}
