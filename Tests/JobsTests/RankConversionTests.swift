import Foundation
import Ranks
import TestSupport
import Testing
import Transform

@testable import Formats
@testable import Jobs
@testable import Storage

/// Conversions that several ranks share, here threads; `Tests/MPI` has processes.
@Suite struct RankConversionTests {
  private func model(in folder: TemporaryFolder) throws -> String {
    var random = SplitMix(seed: 11)
    var archive = TensorArchive()
    for layer in 0..<20 {
      let type: ElementType = [.float32, .float16, .bfloat16][layer % 3]
      let values = (0..<48 * (40 + layer)).map { _ in
        Double(Int32(truncatingIfNeeded: random.next())) * 0x1p-34
      }
      archive.tensors["layers.\(layer).weight"] = try Tensor(
        elementType: type, shape: #require(Shape([40 + layer, 48])),
        bytes: type.bytes(rounding: values))
      archive.tensors["layers.\(layer).bias"] = try Tensor(
        elementType: .float32, shape: [48],
        bytes: SharedBytes(elementsOf: (0..<48).map { Float($0 * layer) }))
    }
    let path = folder.appending("model.safetensors")
    try FormatRegistry.standard.write(archive, as: SafetensorsFormat(), to: path)
    return path
  }

  private func conversion(of input: String, to output: String, bits: Int?) throws -> Conversion {
    let archive = try FormatRegistry.standard.open(input)
    guard let bits else {
      return try Conversion(
        ConversionRequest(
          input: input, output: output, root: nil, format: "safetensors", recipe: nil),
        copying: archive, root: nil)
    }
    var recipe = try Recipe.named("all-linear")
    recipe.defaults.bitWidth = bits
    let packer = try ModelPacker(
      archive, recipe: recipe, source: PackedHeader.Source(archive, root: nil), threads: 1)
    return try Conversion(
      ConversionRequest(
        input: input, output: output, root: nil, format: PackedFormat.identifier.name,
        recipe: recipe), packing: archive, root: nil, with: packer)
  }

  /// Runs a conversion on `count` ranks and returns the outcome of rank 0.
  private func run(
    _ count: Int, from input: String, to output: String, bits: Int?, keepsJournal: Bool
  ) throws -> ConversionOutcome {
    let conversion = try conversion(of: input, to: output, bits: bits)
    let outcomes = ThreadRanks.run(count) { ranks -> ConversionOutcome? in
      guard ranks.isRoot else {
        try RankShare.join(ranks)
        return nil
      }
      return try ConversionRun(
        beginning: conversion, replacesExisting: false, keepsJournal: keepsJournal,
        consumption: nil, access: .mapped, workers: Workers(threads: 2, ranks: ranks)
      ).finish()
    }
    for outcome in outcomes.dropFirst() { _ = try outcome.get() }
    return try #require(try outcomes[0].get())
  }

  private func bytes(_ path: String) throws -> Data { try Data(contentsOf: URL(filePath: path)) }

  @Test(arguments: [2, 4, nil], [true, false])
  func bytesDoNotDependOnRanks(_ bits: Int?, _ keepsJournal: Bool) throws {
    try withTemporaryFolder { folder in
      let input = try model(in: folder)
      let output = folder.appending("out")
      let alone = try run(1, from: input, to: output, bits: bits, keepsJournal: keepsJournal)
      let expected = try bytes(output)
      #expect((alone.packed?.layers.count ?? 0) == (bits == nil ? 0 : 20))
      for count in [2, 3, 7] {
        try FileManager.default.removeItem(atPath: output)
        let outcome = try run(
          count, from: input, to: output, bits: bits, keepsJournal: keepsJournal)
        #expect(try bytes(output) == expected, "\(count) ranks")
        #expect(outcome.packed?.layers == alone.packed?.layers)
        #expect(outcome.packed?.summary == alone.packed?.summary)
        #expect(try folder.names() == ["model.safetensors", "out"])
      }
    }
  }

  /// Records that ranks journaled before they ended are not made again, whichever ranks resume.
  @Test func journalsOfAllRanksAreResumed() throws {
    try withTemporaryFolder { folder in
      let input = try model(in: folder)
      let output = folder.appending("out")
      _ = try run(1, from: input, to: output, bits: 2, keepsJournal: false)
      let whole = try bytes(output)
      try FileManager.default.removeItem(atPath: output)

      // Three ranks ended after 5, 7 and 9 records.
      let conversion = try conversion(of: input, to: output, bits: 2)
      try whole.write(to: URL(filePath: PartialFile.path(of: output)))
      let records = conversion.file.records
      func line(_ index: Int) throws -> String {
        let place = records[index]
        let slice = whole[place.offset..<place.offset + place.byteCount]
        return try RecordNote(
          RecordResult(
            index: index, offset: place.offset, byteCount: place.byteCount,
            checksum: CRC32.checksum(SharedBytes(slice)), cost: nil)
        ).json().serialized()
      }
      let plan = conversion.plan
      let head = "{\"plan\":\"\(plan.fingerprint)\"}"
      let heads = [plan.json.serialized(), head, head]
      for (rank, indices) in [0..<5, 5..<12, 12..<21].enumerated() {
        let lines = try [heads[rank]] + indices.map(line)
        let suffix = rank == 0 ? ".journal" : ".journal-rank-\(rank)"
        try Data("\(lines.joined(separator: "\n"))\n{\"reco".utf8)
          .write(to: URL(filePath: output + suffix))
      }
      // A journal of another plan is ignored.
      try Data("{\"plan\":\"0\"}\n\(line(30))\n".utf8)
        .write(to: URL(filePath: "\(output).journal-rank-9"))

      guard case .resumable(let found) = try ConversionRun.earlier(plan.request) else {
        Issue.record("it cannot be continued")
        return
      }
      let outcomes = ThreadRanks.run(2) { ranks -> Int in
        guard ranks.isRoot else {
          try RankShare.join(ranks)
          return 0
        }
        let run = try ConversionRun(
          continuing: found, access: .mapped, replacesExisting: false, consumes: false,
          workers: Workers(threads: 1, ranks: ranks))
        _ = try run.finish()
        return run.resumedCount
      }
      #expect(try outcomes.map { try $0.get() } == [21, 0])
      #expect(try bytes(output) == whole)
      #expect(try folder.names() == ["model.safetensors", "out"])
    }
  }
}
