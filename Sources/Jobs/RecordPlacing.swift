import Formats
import FoundationEssentials
import Glibc
import LinearAlgebra
import OrderedCollections
import Ranks
import Storage
import Transform

/// Makes records and puts them in their places, on the threads of one process or of several ranks.
struct RecordPlacing {
  let conversion: Conversion
  let output: PartialFile
  var ranks = RankGroup.alone
  let threads: Int

  /// Makes those of the records at `indices` that are not `done`, in that order.
  ///
  /// - Parameters:
  ///   - done: results of records that are in the file.
  ///   - journal: gets a line a record that this process made.
  ///   - consumption: deletes sources whose records are all in their places; it needs the journal.
  ///   - progress: called with the bytes of each tensor, from any thread; at once for what is done.
  /// - Returns: `done`, and the results of what was missing, of all ranks.
  /// - Throws: the error of the first index in the order that failed.
  func placeMissing(
    of indices: [Int], done: [RecordResult], journal: ConversionJournal?,
    consumption: InputConsumption? = nil, progress: WriteProgress?
  ) throws -> [RecordResult] {
    let records = conversion.file.records
    let isDone = Set(done.map(\.index))
    let missing = indices.filter { !isDone.contains($0) }
    @Sendable func show(_ index: Int) {
      progress?(records[index].name, records[index].sourceByteCount)
    }
    for result in done { show(result.index) }
    @Sendable func prepare(toConsume path: String) throws {
      try output.synchronize()
      try journal?.append(.object(["consumed": .string(path)]))
      try journal?.synchronize()
    }
    try consumption?.complete(done.map(\.index), preparing: prepare)
    let placed = try ranks.map(
      count: missing.count, threads: threads, progress: { show(missing[$0]) },
      concluding: {
        // Whoever seals the file may be on another machine.
        if ranks.isShared { try output.synchronize() }
      },
      { position in
        let index = missing[position]
        func make() throws -> RecordResult { try place(index, at: records[index], journal) }
        return try consumption?.making(index, preparing: prepare, make) ?? make()
      })
    return done + placed
  }

  /// Makes one record, and notes it.
  private func place(
    _ index: Int, at place: PlacedRecord, _ journal: ConversionJournal?
  ) throws -> RecordResult {
    let bytes = try conversion.file.record(at: index)
    try output.placement.write(bytes, at: place.offset)
    let result = RecordResult(
      index: index, checksum: CRC32.checksum(bytes), summary: conversion.summary(of: place.name))
    // Zeros that stood in for missing bytes of the input must not count as done.
    try SignalHandlers.checkInputs()
    try journal?.append(result.json())
    return result
  }

  /// The latest of `results` of each record, where the file holds what it says; by index.
  func confirmed(latestOf results: [RecordResult]) throws -> [RecordResult] {
    let records = conversion.file.records
    let results = Dictionary(results.map { ($0.index, $0) }) { $1 }.values
      .sorted { $0.index < $1.index }
    let isThere = try parallelMap(count: results.count, threads: threads) { position in
      let result = results[position]
      guard records.indices.contains(result.index) else { return false }
      let place = records[result.index]
      return try output.holds(
        checksum: result.checksum, at: place.offset, byteCount: place.byteCount)
    }
    return zip(results, isThere).filter(\.1).map(\.0)
  }

  /// Seals a file whose records are all in place, and gives it its name.
  ///
  /// - Parameters:
  ///   - results: of every record, once.
  ///   - wasEmpty: whether nothing but these records was ever in the file; what lies between them is
  ///     zero then.
  func finish(_ results: [RecordResult], wasEmpty: Bool) throws -> ConversionOutcome {
    let file = conversion.file
    var checksums = [UInt32](repeating: 0, count: file.records.count)
    for result in results { checksums[result.index] = result.checksum }
    if !wasEmpty { try clearGaps() }
    var end = file.recordsEnd
    for piece in try file.pieces(checksums: checksums) {
      try output.placement.write(piece.bytes, at: piece.offset)
      end = max(end, piece.offset + piece.bytes.count)
    }
    try output.finish(byteCount: end)
    var summaries: [String: QuantizationSummary] = [:]
    for result in results {
      if let summary = result.summary { summaries[summary.name] = summary }
    }
    return ConversionOutcome(
      plan: conversion.plan,
      layers: conversion.plan.header.names.keys.compactMap { summaries[$0] },
      summary: (file as? PackedWriter)?.summary(fileByteCount: end), fileByteCount: end)
  }

  /// Makes what lies between records zero: the file may have been another conversion's before.
  private func clearGaps() throws {
    let places = conversion.file.records.sorted { $0.offset < $1.offset }
    for (place, next) in zip(places, places.dropFirst()) {
      let end = place.offset + place.byteCount
      guard end < next.offset else { continue }
      try output.placement.write(SharedBytes(count: next.offset - end) { _ in }, at: end)
    }
  }
}

/// What a conversion wrote.
package struct ConversionOutcome: Sendable {
  package let plan: ConversionPlan
  /// What quantizing each tensor cost, in the archive's order; empty where every bit is kept.
  package let layers: [QuantizationSummary]
  /// How small a packed file is.
  package let summary: PackedSummary?
  package let fileByteCount: Int
}

/// That a record is in its place, and what it is.
struct RecordResult: Codable, Sendable {
  /// The record's index in the file.
  let index: Int
  let checksum: UInt32
  /// What quantizing cost, for quantized tensors.
  let summary: QuantizationSummary?
}

extension RecordResult {
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
        throw ModelError.malformed("'summary' is not what quantizing a tensor cost")
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
