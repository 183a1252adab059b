import Glibc
import OrderedCollections
import Ranks
import Storage
import Transform

/// What rank 0 says to the others of a conversion that it has begun, and what they do then.
package struct RankShare: Codable, Sendable {
  /// As JSON.
  private let plan: String
  /// Records that are in the file already.
  private let done: [Int]
  private let keepsJournal: Bool
  private let isMapped: Bool
  /// Of each rank.
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

  /// Makes records of the conversion that rank 0 finishes meanwhile: see `ConversionRun.finish`.
  ///
  /// - Throws: `ModelError`. What must not stay of a run that failed is removed.
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
      conversion: conversion, output: output, ranks: ranks, threads: threads,
      journal: keepsJournal ? Self.journal(of: plan, rank: ranks.rank) : nil
    ).placeMissing(
      of: conversion.file.largestFirst.filter { !isDone.contains($0) }, done: [], progress: nil)
  }

  /// The journal of a rank, continued where it is of the same plan.
  private static func journal(of plan: ConversionPlan, rank: Int) throws -> ConversionJournal {
    try ConversionJournal.alone(
      at: ConversionJournal.path(of: plan.request.output, rank: rank), head: head(of: plan),
      refusal: "another process is writing it"
    ).journal
  }

  /// What the journals of ranks say that are of this plan.
  ///
  /// - Throws: `ModelError` when the output's folder cannot be read.
  static func results(of plan: ConversionPlan) throws -> [RecordNote] {
    let head = head(of: plan)
    return try ConversionJournal.paths(
      beside: plan.request.output, suffix: ConversionJournal.rankSuffix
    ).flatMap { path in
      // One that cannot be read is none: its records are made again.
      guard let content = try? JournalContent(path: path), content.head == head else {
        return [RecordNote]()
      }
      return content.results
    }
  }

  /// A rank's journal begins with it.
  private static func head(of plan: ConversionPlan) -> JSONValue {
    .object(["plan": .string(plan.fingerprint)])
  }
}
