import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

/// Damage of every kind at every place is found, located, and undone where it can be.
@Suite struct PackedDamageTests {
  private func examine(_ bytes: [UInt8]) throws -> PackedExamination {
    try PackedExamination(InputFile(SharedBytes(bytes), path: "file"))
  }

  /// Returns the region and tensor of each byte of an intact file.
  private func places(_ bytes: [UInt8]) throws -> [(region: PackedRegion, tensor: String?)] {
    let model = try PackedModel(parsing: InputFile(SharedBytes(bytes), path: "file"))
    var places = [(region: PackedRegion, tensor: String?)](
      repeating: (.padding, nil), count: bytes.count)
    for index in 0..<PackedPrologue.byteCount { places[index] = (.prologue, nil) }
    for entry in model.header.entries {
      for index in entry.offset..<entry.offset + entry.byteCount {
        places[index] = (.record, entry.name)
      }
    }
    for index in model.prologue.headerOffset..<bytes.count { places[index] = (.header, nil) }
    return places
  }

  /// Returns a file with one small tensor per kind of record, except long ones.
  private func smallFile() throws -> [UInt8] {
    try PackedSamples.file(
      PackedPlan(
        header: PackedHeader(producer: Producer.current),
        items: [
          PackedSamples.items()[0], PackedSamples.items()[1], PackedSamples.items()[5],
        ]))
  }

  @Test func everyFlippedBitOfSmallFileIsLocated() throws {
    let whole = try smallFile()
    #expect(try examine(whole).faults.isEmpty)
    let places = try places(whole)
    for index in whole.indices {
      for bit in 0..<8 {
        var bytes = whole
        bytes[index] ^= 1 << UInt8(bit)
        let faults = try examine(bytes).faults
        #expect(faults.map(\.region) == [places[index].region], "bit \(bit) of byte \(index)")
        #expect(faults.map(\.tensor) == [places[index].tensor], "bit \(bit) of byte \(index)")
        let fault = try #require(faults.first)
        #expect(
          (fault.offset..<fault.offset + fault.byteCount).contains(index),
          "bit \(bit) of byte \(index)")
      }
    }
  }

  @Test func changedByteOfAnyRecordKindIsLocated() throws {
    let whole = try PackedSamples.file()
    let places = try places(whole)
    #expect(Set(places.map(\.region)) == [.prologue, .record, .padding, .header])
    var generator = SplitMix(seed: 11)
    for index in whole.indices {
      var bytes = whole
      bytes[index] ^= UInt8.random(in: 1...255, using: &generator)
      let faults = try examine(bytes).faults
      #expect(faults.map(\.region) == [places[index].region], "byte \(index), seed 11")
      #expect(faults.map(\.tensor) == [places[index].tensor], "byte \(index), seed 11")
    }
  }

  @Test func everyTruncationIsLocatedAtEnd() throws {
    let whole = try PackedSamples.file()
    for count in whole.indices {
      let faults = try examine(Array(whole[..<count])).faults
      let expected: (PackedRegion, Int) = count < 64 ? (.prologue, 0) : (.end, count)
      #expect(faults.map(\.region) == [expected.0], "\(count) bytes")
      #expect(faults.map(\.offset) == [expected.1], "\(count) bytes")
      if count >= 64 { #expect(faults.first?.byteCount == whole.count - count) }
    }
  }

  @Test(arguments: [1, 2, 64, 5000])
  func appendedBytesAreFoundAndRestIsRead(_ count: Int) throws {
    let whole = try PackedSamples.file()
    var bytes = whole + [UInt8](repeating: 0, count: count)
    let place = try PackedSamples.open(whole) { try #require($0.entry(named: "channel")).offset }
    bytes[place] ^= 1
    let examination = try examine(bytes)
    #expect(examination.faults.map(\.region) == [.record, .end])
    #expect(examination.faults.last?.offset == whole.count)
    #expect(examination.faults.last?.byteCount == count)
    #expect(examination.model?.header.names.count == 10)
  }

  @Test func swappedRecordsAreNamed() throws {
    // Only their checksums distinguish two records of equal length.
    let a = try Tensor(
      elementType: .float32, shape: [1100],
      bytes: SharedBytes(elementsOf: (0..<1100).map { Float(sin(Double($0 * $0))) }))
    let b = try Tensor(
      elementType: .float32, shape: [1100],
      bytes: SharedBytes(elementsOf: (0..<1100).map { Float(cos(Double($0 * $0))) }))
    let whole = try PackedSamples.file(
      PackedPlan(losslessly: TensorArchive(tensors: ["a": a, "b": b])))
    let model = try PackedModel(parsing: InputFile(SharedBytes(whole), path: "file"))
    let (first, second) = (model.header.entries[0], model.header.entries[1])
    #expect(first.byteCount == second.byteCount)
    let (x, y) = (
      first.offset..<first.offset + first.byteCount,
      second.offset..<second.offset + second.byteCount
    )
    var swapped = whole
    swapped.replaceSubrange(x, with: whole[y])
    swapped.replaceSubrange(y, with: whole[x])
    #expect(try examine(swapped).faults.map(\.tensor) == ["a", "b"])
    var duplicated = whole
    duplicated.replaceSubrange(y, with: whole[x])
    #expect(try examine(duplicated).faults.map(\.tensor) == ["b"])
    var inserted = whole
    inserted.insert(contentsOf: whole[x], at: x.upperBound)
    #expect(try examine(inserted).faults.contains { $0.region == .end })
  }

  @Test func seededBurstsAreFound() throws {
    let whole = try PackedSamples.file()
    var generator = SplitMix(seed: 5)
    for trial in 0..<300 {
      var bytes = whole
      let start = Int.random(in: 0..<whole.count, using: &generator)
      let end = min(whole.count, start + Int.random(in: 1...400, using: &generator))
      for index in start..<end { bytes[index] = UInt8.random(in: 0...255, using: &generator) }
      guard bytes != whole else { continue }
      let faults = try examine(bytes).faults
      #expect(!faults.isEmpty, "trial \(trial), seed 5: \(start)..<\(end)")
    }
  }

  @Test func damagedVersionIsNotReportedAsOtherVersion() throws {
    var bytes = try PackedSamples.file()
    bytes[8] = 7
    #expect(try examine(bytes).faults.map(\.region) == [.prologue])
    let sum = CRC32.checksum(SharedBytes(bytes[..<60]))
    withUnsafeBytes(of: sum.littleEndian) { bytes.replaceSubrange(60..<64, with: $0) }
    #expect(
      throws: ModelError.unsupported(
        "packed format version 7 is not known; this program reads version 1", offset: 8)
    ) { try examine(bytes) }
  }

  @Test func onlyPackedFilesResemblePackedFiles() throws {
    func resembles(_ bytes: [UInt8]) -> Bool {
      PackedExamination.resembles(InputFile(SharedBytes(bytes), path: "file"))
    }
    let whole = try smallFile()
    #expect(resembles(whole))
    for index in 0..<8 {
      var bytes = whole
      bytes[index] ^= 0xFF
      #expect(resembles(bytes), "byte \(index)")
    }
    #expect(!resembles([]) && !resembles(Array("PK\u{3}\u{4}0000".utf8)))
    #expect(resembles(Array(whole[..<5])) && !resembles(Array(whole[..<3])))
  }
}
