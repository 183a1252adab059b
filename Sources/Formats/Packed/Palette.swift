/// The distinct elements of a tensor that has at most 256 of them.
struct Palette {
  /// The values' bits, ascending as unsigned integers.
  let values: [UInt64]
  private let elementWidth: Int

  static let limit = 256

  /// - Returns: `nil` when there are more values, none, or the elements' width is not supported.
  init?(_ bytes: SharedBytes, elementType: ElementType) {
    guard LosslessEncoding.paletteWidths.contains(elementType.bitWidth), !bytes.isEmpty else {
      return nil
    }
    let width = elementType.bitWidth / 8
    var distinct: Set<UInt64> = []
    var last: UInt64?
    let isSmall = bytes.withUnsafeBytes { buffer in
      for offset in stride(from: 0, to: buffer.count, by: width) {
        let value = buffer.loadUnsigned(at: offset, byteWidth: width)
        guard value != last else { continue }
        last = value
        distinct.insert(value)
        if distinct.count > Self.limit { return false }
      }
      return true
    }
    guard isSmall else { return nil }
    values = distinct.sorted()
    elementWidth = width
  }

  /// The values, then the indices of `bytes`' elements among them.
  func encode(_ bytes: SharedBytes) -> SharedBytes {
    let indexOfValue = Dictionary(
      uniqueKeysWithValues: values.enumerated().map { ($1, UInt8($0)) })
    let indices: [UInt8] = bytes.withUnsafeBytes { buffer in
      stride(from: 0, to: buffer.count, by: elementWidth).map { offset in
        indexOfValue[buffer.loadUnsigned(at: offset, byteWidth: elementWidth)]!  // made from them
      }
    }
    let bitWidth = PackedEncoding.paletteBitWidth(values.count)
    let stream = bitWidth == 0 ? SharedBytes() : BitStream.pack(indices, bitWidth: bitWidth)
    let table = values.count * elementWidth
    return SharedBytes(count: table + stream.count) { output in
      for (index, value) in values.enumerated() {
        output.storeUnsigned(value, at: index * elementWidth, byteWidth: elementWidth)
      }
      stream.withUnsafeBytes { output[table...].copyBytes(from: $0) }
    }
  }

  /// The elements of a record of `distinctCount` values and indices into them.
  static func decode(
    _ encoded: SharedBytes, distinctCount: Int, of entry: PackedEntry
  ) throws -> SharedBytes {
    let width = entry.elementType.bitWidth / 8
    let table = distinctCount * width
    let count = entry.shape.elementCount
    let bitWidth = PackedEncoding.paletteBitWidth(distinctCount)
    let stream = encoded.slice(table..<encoded.count)
    var indices: [UInt8]?
    if bitWidth > 0 {
      guard BitStream.hasZeroTail(stream, count: count, bitWidth: bitWidth) else {
        throw FormatError.malformed("unused bits after the last index are not zero")
      }
      let codes = try BitStream.unpackCodes(stream, count: count, bitWidth: bitWidth)
      if let index = codes.firstIndex(where: { Int($0) >= distinctCount }) {
        throw FormatError.mismatch(
          expected: "indices below \(distinctCount)", found: "\(codes[index]) at element \(index)")
      }
      indices = codes
    }
    let values = encoded.withUnsafeBytes { input in
      (0..<distinctCount).map { input.loadUnsigned(at: $0 * width, byteWidth: width) }
    }
    guard zip(values, values.dropFirst()).allSatisfy(<) else {
      throw FormatError.malformed("the palette's values are not ascending")
    }
    return SharedBytes(count: count * width) { output in
      for element in 0..<count {
        output.storeUnsigned(
          values[indices.map { Int($0[element]) } ?? 0], at: element * width, byteWidth: width)
      }
    }
  }
}
