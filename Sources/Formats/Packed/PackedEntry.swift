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
  /// The type and shape of the tensor as a user sees it, before quantization.
  public var elementType: ElementType
  /// The shape of the logical tensor.
  public var shape: Shape
  /// Whether it is counted as a parameter.
  public var role: TensorRole
  /// How its bytes stand for elements.
  public var encoding: PackedEncoding
  /// The record's length once inflated, for records kept as a zlib stream; `nil` for others.
  public var inflatedByteCount: Int?
  /// Where the record lies in the file.
  public var offset: Int
  /// The record's length in the file.
  public var byteCount: Int
  /// CRC-32 of the record's bytes in the file.
  public var checksum: UInt32

  /// Records from this length on start at a multiple of `alignment`.
  static let alignmentThreshold = 4096
  static let alignment = 64

  /// Where a record of `byteCount` bytes goes when the bytes before it end at `end`.
  static func offset(after end: Int, byteCount: Int) -> Int {
    byteCount >= alignmentThreshold ? (end + alignment - 1) / alignment * alignment : end
  }
}

/// How a tensor's record is to be read.
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

  /// Bits of one index into a table of `distinctCount` values; 0 for a constant tensor.
  static func paletteBitWidth(_ distinctCount: Int) -> Int {
    Int.bitWidth - (distinctCount - 1).leadingZeroBitCount
  }
}

extension PackedEntry {
  /// The length that the encoded record must have, before any compression.
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

  /// The elements in the logical type, row-major, from the record's bytes in the file.
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

  /// A constant tensor takes no bytes, so a damaged or hostile header could ask for any amount of
  /// memory; past the limit, elements must come from at least a bit each.
  private func checkExpansion() throws {
    let elementBytes = elementType.byteCount(forElements: shape.elementCount) ?? .max
    let limit = max(StorageView.expansionLimit, try encodedByteCount().multipliedSaturating(by: 64))
    guard elementBytes <= limit else {
      throw ModelError(
        .limitExceeded(
          what: "a constant tensor's length in bytes", limit: limit, found: "\(elementBytes)"))
    }
  }

  /// The codes and parameters of an affine record.
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
