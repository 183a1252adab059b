import Formats
import FoundationEssentials
import LinearAlgebra
import OrderedCollections
import Ranks
import Storage
import Transform

/// Writes a conversion's output on the threads of one process or of several ranks, keeping a
/// journal of the written records and deleting sources that are used up.
struct ConversionWriting: WritingPolicy {
  let conversion: Conversion
  let output: PartialFile
  let workers: Workers
  /// The journal, which gets one line per record that this process makes.
  var journal: ConversionJournal?
  /// Deletes sources whose records are all written; requires the journal.
  var consumption: InputConsumption?

  private var writer: PlannedFileWriter<QuantizationSummary> {
    PlannedFileWriter(conversion.file, to: output.placement)
  }

  /// Makes the records at `indices` that are not `done`, in that order.
  ///
  /// - Parameters:
  ///   - done: results of records that are in the file.
  ///   - progress: called with the bytes of each tensor, from any thread; immediately for `done`.
  /// - Returns: `done` and the results of the missing records, from all ranks.
  /// - Throws: the error of the first index in the order that failed.
  func placeMissing(
    of indices: [Int], done: [RecordResult<QuantizationSummary>], progress: WriteProgress?
  ) throws -> [RecordResult<QuantizationSummary>] {
    let isDone = Set(done.map(\.index))
    for result in done { writer.show(result.index, progress) }
    try consumption?.complete(done.map(\.index), preparing: prepareToConsume)
    return done
      + (try writer.place(indices.filter { !isDone.contains($0) }, by: self, progress: progress))
  }

  func map(
    count: Int, progress: @escaping @Sendable (Int) -> Void,
    _ transform: @escaping @Sendable (Int) throws -> RecordResult<QuantizationSummary>
  ) throws -> [RecordResult<QuantizationSummary>] {
    try workers.map(
      count: count, progress: progress,
      concluding: {
        // The rank that seals the file may be on another machine.
        if workers.ranks.isShared { try output.synchronize() }
      }, transform)
  }

  var making: RecordMaking<QuantizationSummary> {
    { [journal, consumption, prepareToConsume] index, make in
      func noted() throws -> RecordResult<QuantizationSummary> {
        let result = try make()
        // Zeros that stood in for missing bytes of the input must not count as done.
        try SignalHandlers.checkInputs()
        try journal?.append(RecordNote(result).json())
        return result
      }
      return try consumption?.making(index, preparing: prepareToConsume, noted) ?? noted()
    }
  }

  /// Makes everything durable that depends on the source at the given path.
  private var prepareToConsume: @Sendable (_ path: String) throws -> Void {
    { [output, journal] path in
      try output.synchronize()
      try journal?.append(.object(["consumed": .string(path)]))
      try journal?.synchronize()
    }
  }

  /// Returns the results of the latest of `notes` about each record, if the file holds those bytes;
  /// by index.
  func confirmed(latestOf notes: [RecordNote]) throws -> [RecordResult<QuantizationSummary>] {
    let records = conversion.file.records
    let notes = Dictionary(notes.map { ($0.index, $0) }) { $1 }.values
      .sorted { $0.index < $1.index }
    return try parallelMap(count: notes.count, threads: workers.threads) { position in
      let note = notes[position]
      guard records.indices.contains(note.index) else { return nil }
      let record = records[note.index]
      guard
        try output.holds(
          checksum: note.checksum, at: record.offset, byteCount: record.byteCount)
      else { return nil }
      return RecordResult(
        index: note.index, offset: record.offset, byteCount: record.byteCount,
        checksum: note.checksum, cost: note.summary)
    }.compactMap(\.self)
  }

  /// Seals a file whose records are all written, and gives it its name.
  ///
  /// - Parameters:
  ///   - results: one per record.
  ///   - wasEmpty: whether the file never held anything but these records, so that the bytes
  ///     between them are zero.
  func finish(
    _ results: [RecordResult<QuantizationSummary>], wasEmpty: Bool
  ) throws -> ConversionOutcome {
    let end = try writer.seal(results, clearsGaps: !wasEmpty)
    try output.finish(byteCount: end)
    guard let header = conversion.plan.header else {
      return .copied(conversion.plan, conversion.changes)
    }
    return .packed(
      CompressionOutcome(header, costs: results.map(\.cost), fileByteCount: end),
      conversion.changes)
  }
}

/// The output of a conversion.
package enum ConversionOutcome: Sendable {
  /// A packed file, and what edits changed before it was packed.
  case packed(CompressionOutcome, ArchiveChanges?)
  /// A file of another format that keeps every bit but for edits, as planned.
  case copied(ConversionPlan, ArchiveChanges?)

  /// The outcome of packing; `nil` for a copy.
  package var packed: CompressionOutcome? {
    if case .packed(let outcome, _) = self { outcome } else { nil }
  }
}

/// A journal's note that a record is written.
struct RecordNote: Sendable {
  /// The record's index in the file.
  let index: Int
  let checksum: UInt32
  /// The cost of quantizing; `nil` for tensors that are not quantized.
  let summary: QuantizationSummary?

  init(_ result: RecordResult<QuantizationSummary>) {
    index = result.index
    checksum = result.checksum
    summary = result.cost
  }
}

extension RecordNote {
  init(parsing json: JSONValue) throws {
    var members = try JSONObjectReader(json)
    index = try members.require("record", members.count("record"))
    let digits = try members.require("crc32", members.string("crc32"))
    guard digits.utf8.count == 8, let value = UInt32(digits, radix: 16) else {
      throw ModelError.malformed("'crc32' is not 8 hexadecimal digits")
    }
    checksum = value
    summary = try members.take("summary").map { json in
      do {
        return try JSONDecoder().decode(
          QuantizationSummary.self, from: Data(json.serialized().utf8))
      } catch {
        throw ModelError.malformed("'summary' is not a valid quantization summary")
      }
    }
  }

  func json() throws -> JSONValue {
    let digits = String(checksum, radix: 16)
    var members: OrderedDictionary<String, JSONValue> = [
      "record": .integer(index),
      "crc32": .string(String(repeating: "0", count: 8 - digits.count) + digits),
    ]
    if let summary {
      let encoder = JSONEncoder()
      encoder.outputFormatting = .sortedKeys
      members["summary"] = try JSONDocument.parse(SharedBytes(try encoder.encode(summary)))
    }
    return .object(members)
  }
}
