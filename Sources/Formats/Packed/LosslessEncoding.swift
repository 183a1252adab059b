import Storage

/// The lossless encoding of a tensor that is not quantized, chosen by its values.
struct LosslessEncoding {
  let encoding: PackedEncoding
  /// The encoded record's length if it is kept as a zlib stream; `nil` if it is not.
  let inflatedByteCount: Int?
  /// The record's length in the file.
  let byteCount: Int
  /// The record itself, if it was compressed for the choice and there was room for it.
  private let planned: PlannedRecords.Record?

  /// Element widths in bits that a palette can have.
  static let paletteWidths: Set<Int> = [8, 16, 32, 64]
  private static let paletteLimit = 256

  /// Chooses the encoding of `tensor` that takes the fewest bytes.
  ///
  /// zlib is used when it saves at least a tenth. Long raw data is probed first, because trained
  /// weights do not compress and trying takes far longer than writing.
  ///
  /// - Parameter records: keeps compressed records.
  init(choosingFor tensor: Tensor, keepingIn records: PlannedRecords) throws {
    let bytes = try tensor.bytes()
    var best = Candidate(storing: bytes, as: .raw, isProbed: true)
    let candidates = [
      Palette(bytes, elementType: tensor.elementType).map {
        PackedEncoding.palette(distinctCount: $0.values.count)
      },
      IntegerRange(bytes, elementType: tensor.elementType).map {
        PackedEncoding.integer(base: $0.base, bitWidth: $0.bitWidth)
      },
    ]
    for encoding in candidates.compactMap({ $0 }) {
      let encoded = try Self.encode(bytes, of: tensor, as: encoding)
      let candidate = Candidate(storing: encoded, as: encoding, isProbed: false)
      if candidate.byteCount < best.byteCount { best = candidate }
    }
    encoding = best.encoding
    inflatedByteCount = best.compressed == nil ? nil : best.encodedByteCount
    byteCount = best.byteCount
    planned = best.compressed.flatMap(records.keep)
  }

  /// Restores the encoding that `entry` was planned with; `nil` for codes.
  init?(plannedFor entry: PackedEntry) {
    if case .affine = entry.encoding { return nil }
    encoding = entry.encoding
    inflatedByteCount = entry.inflatedByteCount
    byteCount = entry.byteCount
    planned = nil
  }

  /// One way to store a tensor.
  private struct Candidate {
    let encoding: PackedEncoding
    let encodedByteCount: Int
    /// The zlib stream, if it is short enough to be worth it.
    let compressed: [UInt8]?

    var byteCount: Int { compressed?.count ?? encodedByteCount }

    init(storing encoded: SharedBytes, as encoding: PackedEncoding, isProbed: Bool) {
      self.encoding = encoding
      encodedByteCount = encoded.count
      guard encoded.count >= 16, !isProbed || Self.probe(encoded) else {
        compressed = nil
        return
      }
      let stream = Zlib.compress(encoded)
      compressed = Self.saves(stream.count, of: encoded.count) ? stream : nil
    }

    private static func saves(_ compressed: Int, of original: Int) -> Bool {
      compressed <= original - (original + 9) / 10
    }

    /// Whether evenly spaced samples of long data compress well enough to try all of it.
    private static func probe(_ bytes: SharedBytes) -> Bool {
      let sampleCount = 8
      let sampleByteCount = 16 << 10
      guard bytes.count > 2 * sampleCount * sampleByteCount else { return true }
      let spacing = bytes.count / sampleCount
      let compressed = (0..<sampleCount).reduce(0) { sum, index in
        let start = index * spacing
        return sum + Zlib.compress(bytes.slice(start..<start + sampleByteCount)).count
      }
      return saves(compressed, of: sampleCount * sampleByteCount)
    }
  }

  /// Makes the record of `tensor`, of exactly `byteCount` bytes.
  func record(of tensor: Tensor) throws -> SharedBytes {
    if let record = planned?.take() { return record }
    let encoded = try Self.encode(tensor.bytes(), of: tensor, as: encoding)
    return inflatedByteCount == nil ? encoded : SharedBytes(Zlib.compress(encoded))
  }

  private static func encode(
    _ bytes: SharedBytes, of tensor: Tensor, as encoding: PackedEncoding
  ) throws -> SharedBytes {
    switch encoding {
    case .raw, .affine:
      return bytes
    case .palette:
      guard let palette = Palette(bytes, elementType: tensor.elementType) else {
        throw ModelError.malformed("the source changed while it was read")
      }
      return palette.encode(bytes)
    case .integer(let base, let bitWidth):
      return try IntegerRange(base: base, bitWidth: bitWidth).encode(bytes, tensor.elementType)
    }
  }

  /// Returns the elements of a record whose encoding is not affine, in row-major order.
  ///
  /// - Parameter encoded: the inflated record, of the length that the entry requires.
  /// - Throws: `ModelError` for unused bits that are not zero, indices outside the palette and
  ///   elements outside the type.
  static func decode(_ encoded: SharedBytes, of entry: PackedEntry) throws -> SharedBytes {
    switch entry.encoding {
    case .raw, .affine:
      return encoded
    case .palette(let distinctCount):
      return try Palette.decode(encoded, distinctCount: distinctCount, of: entry)
    case .integer(let base, let bitWidth):
      return try IntegerRange(base: base, bitWidth: bitWidth).decode(encoded, of: entry)
    }
  }
}

/// The distinct elements of a tensor that has at most 256 of them.
struct Palette {
  /// The values' bits, ascending as unsigned integers.
  let values: [UInt64]
  private let elementWidth: Int

  static let limit = 256

  /// - Returns: `nil` when there are more values or none, or the elements' width is not supported.
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

  /// Returns the values, then the indices of `bytes`' elements among them.
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
    let table = SharedBytes(count: values.count * elementWidth) { output in
      for (index, value) in values.enumerated() {
        output.storeUnsigned(value, at: index * elementWidth, byteWidth: elementWidth)
      }
    }
    return SharedBytes(joining: [table, stream])
  }

  /// Returns the elements of a record of `distinctCount` values and indices into them.
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
        throw ModelError.malformed("unused bits after the last index are not zero")
      }
      let codes = try BitStream.unpackCodes(stream, count: count, bitWidth: bitWidth)
      if let index = codes.firstIndex(where: { Int($0) >= distinctCount }) {
        throw ModelError.mismatch(
          expected: "indices below \(distinctCount)", found: "\(codes[index]) at element \(index)")
      }
      indices = codes
    }
    let values = encoded.withUnsafeBytes { input in
      (0..<distinctCount).map { input.loadUnsigned(at: $0 * width, byteWidth: width) }
    }
    guard zip(values, values.dropFirst()).allSatisfy(<) else {
      throw ModelError.malformed("the palette's values are not ascending")
    }
    return SharedBytes(count: count * width) { output in
      for element in 0..<count {
        output.storeUnsigned(
          values[indices.map { Int($0[element]) } ?? 0], at: element * width, byteWidth: width)
      }
    }
  }
}

/// A range of all elements of an integer tensor, as a base and the bit width of differences.
struct IntegerRange {
  let base: Int
  /// 0 when all elements are `base`.
  let bitWidth: Int

  init(base: Int, bitWidth: Int) {
    self.base = base
    self.bitWidth = bitWidth
  }

  /// Finds the range from the least to the greatest element.
  ///
  /// - Returns: `nil` for other element types, for empty tensors, and when narrowing gains nothing.
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
          throw ModelError.malformed("the source changed while it was read")
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
        throw ModelError.malformed("unused bits after the last code are not zero")
      }
      codes = try BitStream.unpackIntegers(encoded, count: count, bitWidth: bitWidth)
    }
    return try SharedBytes(count: count * width) { output in
      for element in 0..<count {
        let (value, overflow) = base.addingReportingOverflow(Int(codes?[element] ?? 0))
        guard !overflow, Self.fits(value, entry.elementType) else {
          throw ModelError.mismatch(
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

  /// Returns the element at `offset`; `nil` for a `uint64` outside `Int`.
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
