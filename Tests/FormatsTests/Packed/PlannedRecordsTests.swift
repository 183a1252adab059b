import TestSupport
import Testing

@testable import Formats
@testable import Storage

@Suite struct PlannedRecordsTests {
  @Test func keptRecordsStayWithinByteLimit() throws {
    let records = PlannedRecords(limit: 10)
    let first = try #require(records.keep([1, 2, 3, 4, 5, 6]))
    #expect(records.keep([7, 8, 9, 10, 11]) == nil)
    let second = try #require(records.keep([7, 8, 9, 10]))
    #expect(first.take()?.array == [1, 2, 3, 4, 5, 6])
    // A record that was taken is gone and its room is free.
    #expect(first.take() == nil)
    #expect(records.keep([UInt8](repeating: 0, count: 7)) == nil)
    #expect(records.keep([UInt8](repeating: 0, count: 6)) != nil)
    #expect(second.take()?.array == [7, 8, 9, 10])
  }

  /// Covers a limit with room for the record, one without, and a repeated request.
  @Test(arguments: [0, PlannedRecords.limit])
  func recordDoesNotDependOnLimit(_ limit: Int) throws {
    var random = SplitMix(seed: 3)
    let values = (0..<5000).map { _ in Double(Int32(truncatingIfNeeded: random.next())) * 0x1p-34 }
    let tensor = try Tensor(
      elementType: .bfloat16, shape: #require(Shape([50, 100])),
      bytes: ElementType.bfloat16.bytes(rounding: values))
    let encoding = try LosslessEncoding(
      choosingFor: tensor, keepingIn: PlannedRecords(limit: limit))
    #expect(encoding.inflatedByteCount == 10_000)
    let expected = try Zlib.compress(tensor.bytes())
    for _ in 0..<2 {
      let record = try encoding.record(of: tensor)
      #expect(record.array == expected)
      #expect(record.count == encoding.byteCount)
    }
  }
}
