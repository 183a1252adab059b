/// A range that holds all elements of an integer tensor, as a base and the width of differences.
struct IntegerRange {
  let base: Int
  /// 0 when all elements are `base`.
  let bitWidth: Int

  init(base: Int, bitWidth: Int) {
    self.base = base
    self.bitWidth = bitWidth
  }

  /// The narrowest range from the least to the greatest element.
  ///
  /// - Returns: `nil` for other element types, for empty tensors, and where narrowing gains nothing.
  init?(_ bytes: SharedBytes, elementType: ElementType) {
    guard elementType.isInteger, !bytes.isEmpty else { return nil }
    let width = elementType.bitWidth / 8
    var least = Int.max
    var greatest = Int.min
    let fits = bytes.withUnsafeBytes { buffer in
      for offset in stride(from: 0, to: buffer.count, by: width) {
        guard let value = Self.load(buffer, at: offset, elementType) else { return false }
        least = min(least, value)
        greatest = max(greatest, value)
      }
      return true
    }
    guard fits else { return nil }
    let (span, overflow) = greatest.subtractingReportingOverflow(least)
    guard !overflow else { return nil }
    base = least
    bitWidth = Int.bitWidth - span.leadingZeroBitCount
    guard bitWidth < elementType.bitWidth else { return nil }
  }

  func encode(_ bytes: SharedBytes, _ elementType: ElementType) throws -> SharedBytes {
    guard bitWidth > 0 else { return SharedBytes() }
    let width = elementType.bitWidth / 8
    let codes: [UInt64] = try bytes.withUnsafeBytes { buffer in
      try stride(from: 0, to: buffer.count, by: width).map { offset in
        guard let value = Self.load(buffer, at: offset, elementType), value >= base,
          UInt64(value - base) >> UInt64(bitWidth) == 0
        else {
          throw FormatError.malformed("the source changed while it was read")
        }
        return UInt64(value - base)
      }
    }
    return BitStream.pack(codes, bitWidth: bitWidth)
  }

  func decode(_ encoded: SharedBytes, of entry: PackedEntry) throws -> SharedBytes {
    let width = entry.elementType.bitWidth / 8
    let count = entry.shape.elementCount
    var codes: [UInt64]?
    if bitWidth > 0 {
      guard BitStream.hasZeroTail(encoded, count: count, bitWidth: bitWidth) else {
        throw FormatError.malformed("unused bits after the last code are not zero")
      }
      codes = try BitStream.unpackIntegers(encoded, count: count, bitWidth: bitWidth)
    }
    return try SharedBytes(count: count * width) { output in
      for element in 0..<count {
        let (value, overflow) = base.addingReportingOverflow(Int(codes?[element] ?? 0))
        guard !overflow, Self.fits(value, entry.elementType) else {
          throw FormatError.mismatch(
            expected: "elements of \(entry.elementType)",
            found: "\(base) + \(codes?[element] ?? 0) at element \(element)")
        }
        output.storeUnsigned(
          UInt64(truncatingIfNeeded: value), at: element * width, byteWidth: width)
      }
    }
  }

  private static func isSigned(_ elementType: ElementType) -> Bool {
    switch elementType {
    case .int8, .int16, .int32, .int64: true
    default: false
    }
  }

  /// The element at `offset`; `nil` for a `uint64` outside `Int`.
  private static func load(
    _ buffer: UnsafeRawBufferPointer, at offset: Int, _ elementType: ElementType
  ) -> Int? {
    let bits = buffer.loadUnsigned(at: offset, byteWidth: elementType.bitWidth / 8)
    guard isSigned(elementType) else { return Int(exactly: bits) }
    let unused = 64 - elementType.bitWidth
    return Int(truncatingIfNeeded: Int64(bitPattern: bits << UInt64(unused)) >> Int64(unused))
  }

  private static func fits(_ value: Int, _ elementType: ElementType) -> Bool {
    let width = elementType.bitWidth
    if isSigned(elementType) {
      return width == 64 || (value >= -(1 << (width - 1)) && value < 1 << (width - 1))
    }
    return value >= 0 && (width == 64 || value < 1 << width)
  }
}
