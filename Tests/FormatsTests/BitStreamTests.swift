import Formats
import Storage
import TestSupport
import Testing

/// Packs integers by the definition, bit by bit.
private func referencePack(_ integers: [UInt64], bitWidth: Int) -> [UInt8] {
  var bytes = [UInt8](repeating: 0, count: (integers.count * bitWidth + 7) / 8)
  for (element, integer) in integers.enumerated() {
    for bit in 0..<bitWidth where integer >> UInt64(bit) & 1 == 1 {
      let position = element * bitWidth + bit
      bytes[position / 8] |= 1 << (position % 8)
    }
  }
  return bytes
}

@Suite("Bit streams")
struct BitStreamTests {
  private static let counts = [0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 127, 129, 1_001]

  private func integers(_ count: Int, bitWidth: Int) -> [UInt64] {
    var generator = SplitMix(seed: UInt64(count * 64 + bitWidth))
    let mask = UInt64.max >> (64 - bitWidth)
    // The first elements are all ones, which makes overwritten neighbours most visible.
    return (0..<count).map { $0 < 3 ? mask : generator.next() & mask }
  }

  @Test(arguments: 1...64)
  func integersRoundTripInDefinedOrder(bitWidth: Int) throws {
    for count in Self.counts {
      let integers = integers(count, bitWidth: bitWidth)
      let packed = BitStream.pack(integers, bitWidth: bitWidth)
      #expect(packed.array == referencePack(integers, bitWidth: bitWidth))
      #expect(packed.count == BitStream.byteCount(count: count, bitWidth: bitWidth))
      #expect(
        try BitStream.unpackIntegers(packed, count: count, bitWidth: bitWidth) == integers)
    }
  }

  @Test(arguments: 1...8)
  func codesRoundTripInDefinedOrder(bitWidth: Int) throws {
    for count in Self.counts {
      let integers = integers(count, bitWidth: bitWidth)
      let codes = integers.map(UInt8.init)
      let packed = BitStream.pack(codes, bitWidth: bitWidth)
      #expect(packed.array == referencePack(integers, bitWidth: bitWidth))
      #expect(try BitStream.unpackCodes(packed, count: count, bitWidth: bitWidth) == codes)
    }
  }

  @Test(arguments: 1...64)
  func everyTailBitIsChecked(bitWidth: Int) {
    for count in Self.counts {
      let bytes = BitStream.pack(integers(count, bitWidth: bitWidth), bitWidth: bitWidth).array
      #expect(
        BitStream.hasZeroTail(SharedBytes(bytes), count: count, bitWidth: bitWidth))
      for bit in count * bitWidth..<bytes.count * 8 {
        var damaged = bytes
        damaged[bit / 8] |= 1 << (bit % 8)
        #expect(
          !BitStream.hasZeroTail(SharedBytes(damaged), count: count, bitWidth: bitWidth))
      }
    }
  }

  @Test func wrongLengthsAreRefused() {
    let bytes = SharedBytes([0, 0, 0])
    // Eleven codes of 3 bits take 33 bits, one more than four bytes hold.
    let extra = ModelError(
      .truncated(expectedBytes: 2, foundBytes: 3, purpose: "5 codes of 3 bits"))
    #expect(BitStream.byteCount(count: 11, bitWidth: 3) == 5)
    #expect(
      throws: ModelError(
        .truncated(expectedBytes: 5, foundBytes: 3, purpose: "11 codes of 3 bits"))
    ) { try BitStream.unpackCodes(bytes, count: 11, bitWidth: 3) }
    #expect(throws: extra) { try BitStream.unpackCodes(bytes, count: 5, bitWidth: 3) }
    #expect(throws: extra) { try BitStream.unpackIntegers(bytes, count: 5, bitWidth: 3) }
  }

  @Test func overflowingCountsAreRefused() {
    #expect(BitStream.byteCount(count: .max, bitWidth: 2) == nil)
    #expect(BitStream.byteCount(count: -1, bitWidth: 2) == nil)
    #expect(BitStream.byteCount(count: .max, bitWidth: 1) == 1 << 60)
    #expect(
      throws: ModelError.mismatch(
        expected: "a bit stream below 2^63 bits", found: "\(Int.max) elements of 2 bits")
    ) { try BitStream.unpackCodes(SharedBytes(), count: .max, bitWidth: 2) }
  }

  @Test(arguments: [
    (UInt64(0), 1), (1, 1), (2, 2), (3, 2), (4, 3), (255, 8), (256, 9), (.max, 64),
  ])
  func bitWidthIsSmallestThatHoldsValue(value: UInt64, bitWidth: Int) {
    #expect(BitStream.bitWidth(holding: value) == bitWidth)
  }
}
