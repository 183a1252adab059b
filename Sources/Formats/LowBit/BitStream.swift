import Glibc
import Storage

/// Unsigned integers of a fixed width of 1 to 64 bits, packed without gaps.
///
/// The stream is little-endian, low bits first: element `k` takes the bits `[k·b, (k+1)·b)`, where
/// bit `i` of the stream is bit `i mod 8` of byte `⌊i/8⌋`. The bits after the last element, up to
/// the next whole byte, are zero.
package enum BitStream {
  /// Returns the number of bytes that `count` elements take: `⌈count · bitWidth / 8⌉`.
  ///
  /// - Returns: `nil` when the number of bits overflows or `count` is negative.
  package static func byteCount(count: Int, bitWidth: Int) -> Int? {
    let (bits, overflow) = count.multipliedReportingOverflow(by: bitWidth)
    guard count >= 0, !overflow else { return nil }
    return bits / 8 + (bits % 8 == 0 ? 0 : 1)
  }

  /// Returns the smallest bit width that holds `value`, at least 1.
  package static func bitWidth(holding value: UInt64) -> Int {
    max(1, UInt64.bitWidth - value.leadingZeroBitCount)
  }

  /// Packs codes that are each below `2^bitWidth`.
  ///
  /// - Parameter bitWidth: 1 to 8.
  /// - Complexity: handles eight codes at a time, because they fill `bitWidth` whole bytes.
  package static func pack(_ codes: [UInt8], bitWidth: Int) -> SharedBytes {
    precondition((1...8).contains(bitWidth), "a code has 1 to 8 bits")
    let lanes = ByteLanes(bitWidth: bitWidth)
    return pack(count: codes.count, bitWidth: bitWidth) { output in
      codes.withUnsafeBytes { input in
        for (first, offset) in zip(
          stride(from: 0, to: input.count, by: 8), stride(from: 0, to: .max, by: bitWidth))
        {
          store(lanes.compress(word(input, at: first)), to: output, at: offset)
        }
      }
    }
  }

  /// Packs integers that are each below `2^bitWidth`.
  ///
  /// - Parameter bitWidth: 1 to 64.
  package static func pack(_ integers: [UInt64], bitWidth: Int) -> SharedBytes {
    precondition((1...64).contains(bitWidth), "an integer has 1 to 64 bits")
    return pack(count: integers.count, bitWidth: bitWidth) { output in
      var pending: UInt64 = 0
      var pendingBits = 0
      var offset = 0
      for integer in integers {
        assert(Self.bitWidth(holding: integer) <= bitWidth, "an integer needs more bits")
        pending |= integer << pendingBits
        pendingBits += bitWidth
        guard pendingBits >= 64 else { continue }
        store(pending, to: output, at: offset)
        offset += 8
        pendingBits -= 64
        // A shift by all 64 bits gives zero.
        pending = integer >> (bitWidth - pendingBits)
      }
      if pendingBits > 0 { store(pending, to: output, at: offset) }
    }
  }

  /// Returns the codes of a stream of `count` elements of 1 to 8 bits.
  ///
  /// - Throws: `ModelError` when the number of bytes is not exactly what the elements take.
  package static func unpackCodes(_ bytes: SharedBytes, count: Int, bitWidth: Int) throws -> [UInt8]
  {
    precondition((1...8).contains(bitWidth), "a code has 1 to 8 bits")
    try checkByteCount(bytes, count: count, bitWidth: bitWidth)
    let lanes = ByteLanes(bitWidth: bitWidth)
    return bytes.withUnsafeBytes { input in
      [UInt8](unsafeUninitializedCapacity: count) { output, initializedCount in
        output.initialize(repeating: 0)
        let target = UnsafeMutableRawBufferPointer(output)
        for (first, offset) in zip(
          stride(from: 0, to: count, by: 8), stride(from: 0, to: .max, by: bitWidth))
        {
          store(lanes.expand(word(input, at: offset)), to: target, at: first)
        }
        initializedCount = count
      }
    }
  }

  /// Returns the integers of a stream of `count` elements of 1 to 64 bits.
  ///
  /// - Throws: `ModelError` when the number of bytes is not exactly what the elements take.
  package static func unpackIntegers(_ bytes: SharedBytes, count: Int, bitWidth: Int) throws
    -> [UInt64]
  {
    precondition((1...64).contains(bitWidth), "an integer has 1 to 64 bits")
    try checkByteCount(bytes, count: count, bitWidth: bitWidth)
    let mask = UInt64.max >> (64 - bitWidth)
    return bytes.withUnsafeBytes { input in
      [UInt64](unsafeUninitializedCapacity: count) { output, initializedCount in
        var pending: UInt64 = 0
        var pendingBits = 0
        var offset = 0
        for index in 0..<count {
          if pendingBits >= bitWidth {
            output.initializeElement(at: index, to: pending & mask)
            pending >>= UInt64(bitWidth)
            pendingBits -= bitWidth
            continue
          }
          let next = word(input, at: offset)
          offset += 8
          output.initializeElement(at: index, to: (pending | next << pendingBits) & mask)
          // A shift by all 64 bits gives zero.
          pending = next >> (bitWidth - pendingBits)
          pendingBits += 64 - bitWidth
        }
        initializedCount = count
      }
    }
  }

  /// Whether the bits after the last of `count` elements are zero, as they must be.
  ///
  /// Bytes past the stream's length do not belong to its tail; unpacking rejects them.
  package static func hasZeroTail(_ bytes: SharedBytes, count: Int, bitWidth: Int) -> Bool {
    let usedBits = (count % 8) * bitWidth % 8
    guard usedBits > 0, !bytes.isEmpty else { return true }
    return bytes.withUnsafeBytes { $0[$0.count - 1] >> usedBits == 0 }
  }

  private static func pack(
    count: Int, bitWidth: Int, into fill: (UnsafeMutableRawBufferPointer) -> Void
  ) -> SharedBytes {
    guard let byteCount = byteCount(count: count, bitWidth: bitWidth) else {
      preconditionFailure("the bits of \(count) elements in memory overflow")
    }
    return SharedBytes(count: byteCount, initializingWith: fill)
  }

  private static func checkByteCount(_ bytes: SharedBytes, count: Int, bitWidth: Int) throws {
    guard let expected = byteCount(count: count, bitWidth: bitWidth) else {
      throw ModelError.mismatch(
        expected: "a bit stream below 2^63 bits",
        found: "\(counted(count, "element")) of \(bitWidth) bits")
    }
    guard bytes.count == expected else {
      throw ModelError(
        .truncated(
          expectedBytes: expected, foundBytes: bytes.count,
          purpose: "\(counted(count, "code")) of \(bitWidth) bits"))
    }
  }

  /// Returns the eight bytes at `offset` as a little-endian word; bytes past the end are zero.
  @inline(__always)
  private static func word(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> UInt64 {
    if offset + 8 <= bytes.count {
      return UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }
    var word: UInt64 = 0
    for index in offset..<max(offset, bytes.count) {
      word |= UInt64(bytes[index]) << UInt64(8 * (index - offset))
    }
    return word
  }

  /// Stores the word at `offset`; bytes past the end, which hold no element, are left out.
  @inline(__always)
  private static func store(
    _ word: UInt64, to bytes: UnsafeMutableRawBufferPointer, at offset: Int
  ) {
    if offset + 8 <= bytes.count {
      bytes.storeBytes(of: word.littleEndian, toByteOffset: offset, as: UInt64.self)
      return
    }
    for index in offset..<max(offset, bytes.count) {
      bytes[index] = UInt8(truncatingIfNeeded: word >> UInt64(8 * (index - offset)))
    }
  }

  /// Moves the low bits of a word's eight bytes together, and back, in three steps that each join
  /// adjacent lanes (SIMD within a register).
  private struct ByteLanes {
    private let bitWidth: UInt64
    /// The low `bitWidth` bits of every other byte; `pairs` and `quads` mask two and four times as
    /// many bits of wider lanes.
    private let codes: UInt64
    private let pairs: UInt64
    private let quads: UInt64

    init(bitWidth: Int) {
      let width = UInt64(bitWidth)
      self.bitWidth = width
      codes = ((1 << width) - 1) * 0x0001_0001_0001_0001
      pairs = ((1 << (2 * width)) - 1) * 0x0000_0001_0000_0001
      quads = (1 << (4 * width)) - 1
    }

    /// Compresses eight codes, one per byte, to `8 · bitWidth` bits.
    @inline(__always)
    func compress(_ word: UInt64) -> UInt64 {
      var bits = word & codes | (word >> 8 & codes) << bitWidth
      bits = bits & pairs | (bits >> 16 & pairs) << (2 * bitWidth)
      return bits & quads | (bits >> 32 & quads) << (4 * bitWidth)
    }

    /// Reverses `compress`, ignoring higher bits of `word`.
    @inline(__always)
    func expand(_ word: UInt64) -> UInt64 {
      var bits = word & quads | (word >> (4 * bitWidth) & quads) << 32
      bits = bits & pairs | (bits >> (2 * bitWidth) & pairs) << 16
      return bits & codes | (bits >> bitWidth & codes) << 8
    }
  }
}
