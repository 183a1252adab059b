/// How a tensor that is not quantized is stored: chosen from its values, undone exactly.
struct LosslessEncoding {
  let encoding: PackedEncoding
  /// The encoded record's length when it is kept as a zlib stream; `nil` when it is not.
  let inflatedByteCount: Int?
  /// The record's length in the file.
  let byteCount: Int
  /// The record itself, where it was compressed to choose and there was room for it.
  private let planned: PlannedRecords.Record?

  /// Element widths in bits that a palette can have.
  static let paletteWidths: Set<Int> = [8, 16, 32, 64]
  private static let paletteLimit = 256

  /// The encoding of `tensor` that takes the fewest bytes.
  ///
  /// zlib is used where it saves at least a tenth. Long raw data is probed first, because trained
  /// weights do not compress and trying takes far longer than writing.
  ///
  /// - Parameter records: keeps what was compressed.
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

  /// The encoding that `entry` was planned with; `nil` for codes.
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
    /// As a zlib stream, where that is worth it.
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

  /// The record of `tensor`, of exactly `byteCount` bytes.
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
        throw FormatError.malformed("the source changed while it was read")
      }
      return palette.encode(bytes)
    case .integer(let base, let bitWidth):
      return try IntegerRange(base: base, bitWidth: bitWidth).encode(bytes, tensor.elementType)
    }
  }

  /// The elements of a record whose encoding is not affine, in row-major order.
  ///
  /// - Parameter encoded: the record, inflated, of the length the entry needs.
  /// - Throws: `FormatError` for unused bits that are not zero, indices outside the palette and
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
