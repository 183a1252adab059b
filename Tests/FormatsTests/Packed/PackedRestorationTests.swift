import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

/// A restored file equals the original byte for byte, and nothing unproven is restored.
@Suite struct PackedRestorationTests {
  private struct NoReference: Error, CustomStringConvertible {
    var description: String { "there is no reference" }
  }

  /// Returns the file with its faults undone, or the obstacles that prevent it.
  private func restore(
    _ bytes: [UInt8], record: @escaping PackedRestoration.RecordMaker = { _ in throw NoReference() }
  ) throws -> (bytes: [UInt8]?, obstacles: [String]) {
    let examination = try PackedExamination(InputFile(SharedBytes(bytes), path: "file"))
    let restoration = try PackedRestoration(of: examination, makingRecords: record)
    let obstacles = restoration.parts.compactMap(\.obstacle)
    #expect(restoration.isComplete == obstacles.isEmpty)
    return try withTemporaryFolder { folder in
      let path = folder.appending("restored.condi")
      do {
        try restoration.plan().write(to: path)
      } catch let error as ModelError {
        #expect(!obstacles.isEmpty)
        #expect("\(error)".contains("cannot be restored"))
        #expect(try folder.names().isEmpty)
        return (nil, obstacles)
      }
      return (Array(try Data(contentsOf: URL(filePath: path))), obstacles)
    }
  }

  /// Returns the records of `whole`, which stands in for a reference.
  private func records(of whole: [UInt8]) -> PackedRestoration.RecordMaker {
    { SharedBytes(whole[$0.offset..<$0.offset + $0.byteCount]) }
  }

  @Test func everyFlippedPrologueBitIsUndone() throws {
    let whole = try PackedSamples.file()
    for bit in 0..<PackedPrologue.byteCount * 8 {
      var bytes = whole
      bytes[bit / 8] ^= 1 << UInt8(bit % 8)
      #expect(try restore(bytes).bytes == whole, "bit \(bit)")
    }
  }

  /// The samples' producer is not this program and may have written another minor version.
  @Test func lostPrologueIsRestoredForKnownProducer() throws {
    var bytes = try PackedSamples.file()
    bytes.replaceSubrange(8..<64, with: [UInt8](repeating: 0, count: 56))
    #expect(
      try restore(bytes).obstacles == [
        "the header does not say which minor version the prologue named"
      ])
    let own = try PackedSamples.file(
      PackedPlan(
        header: PackedHeader(producer: Producer.current), items: PackedSamples.items()))
    var damaged = own
    damaged.replaceSubrange(0..<64, with: [UInt8](repeating: 0xAA, count: 64))
    #expect(try restore(damaged).bytes == own)
  }

  @Test func damagedRecordsAndPaddingAreUndone() throws {
    let whole = try PackedSamples.file()
    let model = try PackedModel(parsing: InputFile(SharedBytes(whole), path: "file"))
    var all = whole
    for entry in model.header.entries where entry.byteCount > 0 {
      var bytes = whole
      bytes[entry.offset + entry.byteCount / 2] ^= 0x40
      all[entry.offset] ^= 1
      #expect(try restore(bytes, record: records(of: whole)).bytes == whole, "\(entry.name)")
    }
    let long = try #require(model.entry(named: "long"))
    #expect(all[long.offset - 1] == 0)
    all[long.offset - 1] = 9
    #expect(try restore(all + [1, 2, 3], record: records(of: whole)).bytes == whole)
    all[20] ^= 1
    #expect(try restore(all, record: records(of: whole)).bytes == whole)
  }

  @Test func recordThatDiffersFromOriginalIsRefused() throws {
    var bytes = try PackedSamples.file()
    let entry = try PackedSamples.open(bytes) { try #require($0.entry(named: "channel")) }
    bytes[entry.offset] ^= 1
    let damaged = bytes
    #expect(
      try restore(damaged, record: records(of: damaged)).obstacles == [
        "the record made from the reference does not have the checksum in the header"
      ])
    #expect(
      try restore(damaged).obstacles == [
        "the record cannot be made from the reference: there is no reference"
      ])
  }

  @Test func nothingIsRestoredWithoutHeader() throws {
    let whole = try PackedSamples.file()
    var damaged = whole
    damaged[whole.count - 9] ^= 1
    #expect(try restore(damaged, record: records(of: whole)).bytes == nil)
    #expect(try restore(Array(whole.dropLast()), record: records(of: whole)).bytes == nil)
    #expect(try restore(Array(whole[..<10]), record: records(of: whole)).bytes == nil)
  }

  @Test func intactFileIsCopied() throws {
    let whole = try PackedSamples.file()
    #expect(try restore(whole).bytes == whole)
  }

  @Test func repackingGivesNoDeviations() throws {
    let whole = try PackedSamples.file()
    let model = try PackedModel(parsing: InputFile(SharedBytes(whole), path: "file"))
    let plan = try PackedPlan(header: PackedSamples.header(), items: PackedSamples.items())
    #expect(try plan.deviations(of: model).isEmpty)
    var header = PackedSamples.header()
    header.metadata["license"] = "some"
    let other = try PackedPlan(header: header, items: PackedSamples.items())
    #expect(try other.deviations(of: model).map(\.region) == [.header])
    var items = try PackedSamples.items()
    items[0].source = try Tensor(
      elementType: .float32, shape: [3],
      bytes: SharedBytes(elementsOf: [0.1, -0.2, 0.4] as [Float]))
    let tied = try #require(items.firstIndex { $0.name == "bias.tied" })
    items[tied].source = items[0].source
    let changed = try PackedPlan(header: PackedSamples.header(), items: items)
      .deviations(of: model)
    #expect(changed.map(\.tensor) == ["bias"])
    let offset = try #require(model.entry(named: "bias")).offset
    #expect((changed.first?.offset ?? 0) >= offset + 8)
    items.remove(at: 1)
    let fewer = try PackedPlan(header: PackedSamples.header(), items: items)
    #expect(try fewer.deviations(of: model).count == 1)
  }
}
