extension PackedEntry {
  /// The length that the encoded record must have, before any compression.
  ///
  /// - Throws: `FormatError` when it overflows.
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
      throw FormatError.malformed("the record of \(elementType) \(shape) is impossibly long")
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
      throw FormatError(
        .limitExceeded(
          what: "a constant tensor's length in bytes", limit: limit, found: "\(elementBytes)"))
    }
  }

  /// The codes and parameters of an affine record.
  func quantizedTensor(of record: SharedBytes, _ affine: AffineEncoding) throws -> QuantizedTensor {
    let parameterByteCount = QuantizedTensor.parameterByteCount(
      affine.layout, affine.parameterType)
    guard parameterByteCount <= record.count else {
      throw FormatError(
        .truncated(
          expectedBytes: parameterByteCount, foundBytes: record.count,
          purpose: "lower bounds and scales"))
    }
    return try QuantizedTensor(
      parsing: record.slice(0..<parameterByteCount),
      codes: record.slice(parameterByteCount..<record.count), elementType: elementType,
      shape: shape, layout: affine.layout, bitWidth: affine.bitWidth,
      parameterType: affine.parameterType)
  }
}

extension AffineEncoding {
  /// Bytes of the record: parameters, then codes; `nil` when the count overflows.
  public var byteCount: Int? {
    guard let codes = QuantizedTensor.codeByteCount(layout, bitWidth: bitWidth) else { return nil }
    let parameters = QuantizedTensor.parameterByteCount(layout, parameterType)
    let (sum, overflow) = codes.addingReportingOverflow(parameters)
    return overflow ? nil : sum
  }
}

extension Int {
  fileprivate func multipliedSaturating(by factor: Int) -> Int {
    let (product, overflow) = multipliedReportingOverflow(by: factor)
    return overflow ? .max : product
  }
}
