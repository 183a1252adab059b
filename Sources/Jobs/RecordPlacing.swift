import Formats
import LinearAlgebra
import Synchronization
import Transform

/// Makes records and puts them in their places, on the threads of one process.
struct RecordPlacing {
  let conversion: Conversion
  let output: PartialFile
  let threads: Int

  /// Makes the records at `indices`, which are taken in their order.
  ///
  /// - Parameter record: called from any thread when a record is in its place.
  /// - Throws: the error of the first index in the order that failed.
  func place(
    _ indices: [Int], recording record: @escaping @Sendable (RecordResult) throws -> Void
  ) throws {
    _ = try parallelMap(count: indices.count, threads: threads) { position in
      try record(placed(indices[position]))
    }
  }

  /// Makes one record.
  func placed(_ index: Int) throws -> RecordResult {
    let place = conversion.file.records[index]
    let bytes = try conversion.file.record(at: index)
    try output.placement.write(bytes, at: place.offset)
    return RecordResult(
      index: index, checksum: CRC32.checksum(bytes), summary: conversion.summary(of: place.name))
  }

  /// Which of `results` are in the file as they say.
  func confirmed(_ results: [RecordResult]) throws -> [RecordResult] {
    let records = conversion.file.records
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
  /// - Parameter results: of every record, once.
  func finish(_ results: [RecordResult]) throws -> ConversionOutcome {
    let file = conversion.file
    var checksums = [UInt32](repeating: 0, count: file.records.count)
    for result in results { checksums[result.index] = result.checksum }
    try clearGaps()
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

  /// Makes what lies between records zero: a partial file may have been another conversion's before.
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
public struct ConversionOutcome: Sendable {
  public let plan: ConversionPlan
  /// What quantizing each tensor cost, in the archive's order; empty where every bit is kept.
  public let layers: [QuantizationSummary]
  /// How small a packed file is.
  public let summary: PackedSummary?
  public let fileByteCount: Int
}
