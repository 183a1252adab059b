import Glibc
import OrderedCollections
import Ranks
import Storage
import Transform

/// The message of rank 0 to the others about a conversion that it has begun, and their share of it.
package struct RankShare: Codable, Sendable {
  /// The plan as JSON.
  private let plan: String
  /// The records that are in the file already.
  private let done: [Int]
  private let keepsJournal: Bool
  private let isMapped: Bool
  /// The number of threads of each rank.
  private let threads: Int

  init(
    of plan: ConversionPlan, done: [Int], keepsJournal: Bool, access: InputFile.Access, threads: Int
  ) {
    self.plan = plan.json.serialized()
    self.done = done
    self.keepsJournal = keepsJournal
    isMapped = access == .mapped
    self.threads = threads
  }

  /// Makes records of the conversion that rank 0 is finishing; see `ConversionRun.finish`.
  ///
  /// - Throws: `ModelError`, after removing whatever a failed run must not leave.
  package static func join(_ ranks: RankGroup) throws {
    try ranks.broadcast(nil as RankShare?).run(ranks)
  }

  private func run(_ ranks: RankGroup) throws {
    let plan = try ConversionPlan(parsing: JSONDocument.parse(SharedBytes(plan.utf8)))
    let output = try PartialFile(
      for: plan.request.output, replacesExisting: true, opening: .existing, lock: .heldElsewhere,
      staysOnSignals: keepsJournal)
    do {
      try place(plan, in: output, ranks)
    } catch  where !keepsJournal || (error as? ModelError)?.isUnsuitable == true {
      output.remove()
      ConversionJournal.removeAll(of: plan.request.output)
      throw error
    }
  }

  private func place(_ plan: ConversionPlan, in output: PartialFile, _ ranks: RankGroup) throws {
    let conversion = try Conversion(
      continuing: plan, access: isMapped ? .mapped : .read, threads: threads)
    let isDone = Set(done)
    _ = try ConversionWriting(
      conversion: conversion, output: output, workers: Workers(threads: threads, ranks: ranks),
      journal: keepsJournal ? Self.journal(of: plan, rank: ranks.rank) : nil
    ).placeMissing(
      of: conversion.file.largestFirst.filter { !isDone.contains($0) }, done: [], progress: nil)
  }

  /// Returns the journal of a rank, continued if it belongs to the same plan.
  private static func journal(of plan: ConversionPlan, rank: Int) throws -> ConversionJournal {
    try ConversionJournal.alone(
      at: ConversionJournal.path(of: plan.request.output, rank: rank), head: head(of: plan),
      refusal: "another process is writing it"
    ).journal
  }

  /// Returns the notes in the ranks' journals that belong to this plan.
  ///
  /// - Throws: `ModelError` when the output's folder cannot be read.
  static func results(of plan: ConversionPlan) throws -> [RecordNote] {
    let head = head(of: plan)
    return try ConversionJournal.paths(
      beside: plan.request.output, suffix: ConversionJournal.rankSuffix
    ).flatMap { path in
      // The records of an unreadable journal are made again.
      guard let content = try? JournalContent(path: path), content.head == head else {
        return [RecordNote]()
      }
      return content.results
    }
  }

  /// Returns the first line of a rank's journal.
  private static func head(of plan: ConversionPlan) -> JSONValue {
    .object(["plan": .string(plan.fingerprint)])
  }
}
