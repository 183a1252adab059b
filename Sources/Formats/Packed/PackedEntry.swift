import Storage

/// One tensor of a packed file as its header describes it.
///
/// ```swift
/// for entry in try PackedModel(parsing: InputFile(path: "model.condi")).header.entries {
///   print(entry.name, entry.elementType, entry.shape, "\(entry.byteCount) bytes")
/// }
/// ```
public struct PackedEntry: Hashable, Sendable {
  /// The tensor's name in the source.
  public var name: String
  /// The element type of the logical tensor, before quantization.
  public var elementType: ElementType
  /// The shape of the logical tensor.
  public var shape: Shape
  /// The tensor's role, which decides whether it counts as a parameter.
  public var role: TensorRole
  /// How the record's bytes represent elements.
  public var encoding: PackedEncoding
  /// The inflated length of a record kept as a zlib stream; `nil` for other records.
  public var inflatedByteCount: Int?
  /// The record's offset in the file.
  public var offset: Int
  /// The record's length in the file.
  public var byteCount: Int
  /// CRC-32 of the record's bytes in the file.
  public var checksum: UInt32

  /// Records of at least this length start at a multiple of `alignment`.
  static let alignmentThreshold = 4096
  static let alignment = 64

  /// Returns the offset of a record of `byteCount` bytes when the bytes before it end at `end`.
  static func offset(after end: Int, byteCount: Int) -> Int {
    byteCount >= alignmentThreshold ? (end + alignment - 1) / alignment * alignment : end
  }
}

/// The encoding of a tensor's record.
///
/// ```swift
/// for entry in try PackedModel(parsing: InputFile(path: "model.condi")).header.entries {
///   if case .affine(let spec) = entry.encoding { print(entry.name, "\(spec.bitWidth) bits") }
/// }
/// ```
public enum PackedEncoding: Hashable, Sendable {
  /// The elements as they are.
  case raw
  /// Low-bit codes with a scale and a lower bound for each cell.
  case affine(AffineSpec)
  /// Indices into a table of at most 256 element values.
  case palette(distinctCount: Int)
  /// Integers as unsigned differences from the least one.
  case integer(base: Int, bitWidth: Int)

  /// Returns the bit width of an index into a table of `distinctCount` values; 0 for a constant
  /// tensor.
  static func paletteBitWidth(_ distinctCount: Int) -> Int {
    Int.bitWidth - (distinctCount - 1).leadingZeroBitCount
  }
}

extension PackedEntry {
  /// Returns the length that the encoded record must have, before any compression.
  ///
  /// - Throws: `ModelError` when it overflows.
  func encodedByteCount() throws -> Int {
    let elementCount = shape.elementCount
    let count: Int?
    switch encoding {
    case .raw:
      count = elementType.byteCount(forElements: elementCount)
    case .affine(let affine):
      count = affine.byteCount
    case .palette(let distinctCount):
      let table = distinctCount * elementType.bitWidth / 8
      count = BitStream.byteCount(
        count: elementCount, bitWidth: PackedEncoding.paletteBitWidth(distinctCount)
      ).map { $0 + table }
    case .integer(_, let bitWidth):
      count = BitStream.byteCount(count: elementCount, bitWidth: bitWidth)
    }
    guard let count else {
      throw ModelError.malformed("the record of \(elementType) \(shape) is impossibly long")
    }
    return count
  }

  /// Decodes the record's bytes into row-major elements of the logical type.
  func elements(of record: SharedBytes) throws -> SharedBytes {
    try checkExpansion()
    guard let inflatedByteCount else {
      if case .affine(let affine) = encoding {
        return try quantizedTensor(of: record, affine).dequantized()
      }
      return try LosslessEncoding.decode(record, of: self)
    }
    let encoded = try Zlib.decompress(record, byteCount: inflatedByteCount, purpose: "a record")
    return try LosslessEncoding.decode(encoded, of: self)
  }

  /// Checks that the elements do not take too much memory.
  ///
  /// A constant tensor takes no bytes, so a damaged or hostile header could ask for any amount of
  /// memory; above the limit, elements must take at least one bit each.
  private func checkExpansion() throws {
    let elementBytes = elementType.byteCount(forElements: shape.elementCount) ?? .max
    let limit = max(StorageView.expansionLimit, try encodedByteCount().multipliedSaturating(by: 64))
    guard elementBytes <= limit else {
      throw ModelError(
        .limitExceeded(
          what: "a constant tensor's length in bytes", limit: limit, found: "\(elementBytes)"))
    }
  }

  /// Returns the codes and parameters of an affine record.
  func quantizedTensor(of record: SharedBytes, _ affine: AffineSpec) throws -> QuantizedTensor {
    let parameterByteCount = affine.parameterByteCount
    guard parameterByteCount <= record.count else {
      throw ModelError(
        .truncated(
          expectedBytes: parameterByteCount, foundBytes: record.count,
          purpose: "lower bounds and scales"))
    }
    return try QuantizedTensor(
      parsing: record.slice(0..<parameterByteCount),
      codes: record.slice(parameterByteCount..<record.count), elementType: elementType,
      shape: shape, spec: affine)
  }
}

extension Int {
  fileprivate func multipliedSaturating(by factor: Int) -> Int {
    let (product, overflow) = multipliedReportingOverflow(by: factor)
    return overflow ? .max : product
  }
}
