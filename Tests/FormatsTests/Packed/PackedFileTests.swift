import Dispatch
import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

@Suite struct PackedFileTests {
  @Test func everythingRoundTrips() throws {
    let items = try PackedSamples.items()
    try PackedSamples.open(PackedSamples.file()) { model in
      #expect(Array(model.header.names.keys) == items.map(\.name))
      for item in items {
        let tensor = try #require(try model.tensor(named: item.name))
        #expect(tensor.elementType == item.source.elementType)
        #expect(tensor.shape == item.source.shape)
        #expect(model.entry(named: item.name)?.role == item.role)
        switch item.action {
        case .keep: #expect(try tensor.bytes().elementsEqual(item.source.bytes()))
        case .quantize(_, _, let quantize):
          #expect(try tensor.bytes().elementsEqual(quantize().tensor.dequantized()))
        }
      }
      let header = PackedSamples.header()
      #expect(model.header.producer == header.producer)
      #expect(model.header.source == header.source)
      #expect(model.header.metadata == header.metadata)
      #expect(model.header.values == header.values)
      #expect(model.header.activations == header.activations)
      #expect(model.header.unknownMembers == header.unknownMembers)
    }
  }

  @Test func eachTensorHasSmallestEncoding() throws {
    try PackedSamples.open(PackedSamples.file()) { model in
      #expect(model.entry(named: "bias")?.encoding == .raw)
      #expect(model.entry(named: "long")?.encoding == .raw)
      #expect(model.entry(named: "index")?.encoding == .integer(base: -3, bitWidth: 6))
      #expect(model.entry(named: "mask")?.encoding == .palette(distinctCount: 2))
      #expect(model.entry(named: "constant")?.encoding == .palette(distinctCount: 1))
      #expect(model.entry(named: "constant")?.byteCount == 2)
      #expect(model.header.names["bias.tied"] == model.header.names["bias"])
      #expect(model.entry(named: "long")?.offset == 128, "4 KiB and more are aligned to 64")
    }
  }

  @Test func bytesDoNotDependOnThreads() throws {
    let sequential = try PackedSamples.file()
    #expect(try PackedSamples.file() == sequential)
    let concurrent = try PackedSamples.file { count, task in
      DispatchQueue.concurrentPerform(iterations: count) { try? task(count - 1 - $0) }
    }
    #expect(concurrent == sequential)
  }

  @Test func everyTruncationAndAppendedByteIsFound() throws {
    let whole = try PackedSamples.file()
    for count in whole.indices {
      #expect(try !PackedSamples.faults(Array(whole[..<count])).isEmpty, "\(count) bytes")
    }
    #expect(try !PackedSamples.faults(whole + [0]).isEmpty)
  }

  @Test func otherMajorVersionIsNamed() throws {
    var bytes = try PackedSamples.file()
    bytes[8] = 7
    #expect(
      try PackedSamples.faults(bytes) == [
        "packed format version 7 is not known; this program reads version 1"
      ])
  }

  @Test func recordFaultNamesTensorAndOffset() throws {
    var bytes = try PackedSamples.file()
    let place = try PackedSamples.open(bytes) { try #require($0.entry(named: "channel")).offset }
    bytes[place + 5] ^= 0x10
    try PackedSamples.open(bytes) { model in
      let faults = try model.verifyRecords()
      #expect(faults.map(\.tensor) == ["channel"])
      #expect(faults.map(\.offset) == [place])
      #expect(throws: ModelError.self) { try model.tensor(named: "channel")?.bytes() }
      #expect(throws: Never.self) { try model.tensor(named: "group")?.bytes() }
    }
  }

  @Test func emptyModelIsPacked() throws {
    let bytes = try PackedSamples.file(PackedPlan(losslessly: TensorArchive()))
    #expect(try PackedSamples.faults(bytes).isEmpty)
  }

  @Test func duplicateNamesAreRefused() throws {
    var items = try PackedSamples.items()
    items.append(items[0])
    #expect(throws: ModelError.malformed("two tensors have this name", tensor: "bias")) {
      try PackedPlan(header: PackedSamples.header(), items: items)
    }
  }
}
