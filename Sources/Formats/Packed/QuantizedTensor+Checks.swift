extension QuantizedTensor {
  static func checkBitWidth(_ bitWidth: Int) throws {
    guard (1...8).contains(bitWidth) else {
      throw FormatError.mismatch(expected: "1 to 8 bits a code", found: "\(bitWidth)")
    }
  }

  static func checkCounts(_ layout: AffineLayout, values: Int, lower: Int, scale: Int) throws {
    guard values == layout.elementCount else {
      throw FormatError.mismatch(
        expected: counted(layout.elementCount, "element"), found: "\(values)")
    }
    guard lower == layout.cellCount, scale == layout.cellCount else {
      throw FormatError.mismatch(
        expected: "\(layout.cellCount) lower bounds and scales", found: "\(lower) and \(scale)")
    }
  }

  /// What can be quantized at all, and that the layout is one of this shape.
  func checkForm() throws {
    guard Self.supportedElementTypes.contains(elementType) else {
      throw FormatError.unsupported("\(elementType) elements cannot be quantized")
    }
    try Self.checkBitWidth(bitWidth)
    let own = try AffineLayout(
      shape: shape, granularity: layout.granularity, parts: layout.parts)
    guard own == layout else {
      throw FormatError.mismatch(
        expected: "\(own.rows) rows of \(own.columns) for \(shape)",
        found: "\(layout.rows) rows of \(layout.columns)")
    }
    try Self.checkCounts(
      layout, values: shape.elementCount, lower: lower.count, scale: scale.count)
  }

  /// Parameters that make every code a finite element.
  func checkParameters() throws {
    for index in 0..<layout.cellCount {
      guard lower[index].isFinite, scale[index].isFinite, scale[index] >= 0 else {
        throw FormatError.mismatch(
          expected: "a finite lower bound and a finite scale of at least 0 in cell \(index)",
          found: "\(lower[index]) and \(scale[index])")
      }
      guard parameterType.rounded(lower[index]) == lower[index],
        parameterType.rounded(scale[index]) == scale[index]
      else {
        throw FormatError.mismatch(
          expected: "parameters that are exact in \(parameterType) in cell \(index)",
          found: "\(lower[index]) and \(scale[index])")
      }
      // Values grow with the code, so the ends stand for all between them.
      let code = code(ofCell: index)
      guard elementType.rounded(code.lower).isFinite, elementType.rounded(code.upper).isFinite
      else {
        throw FormatError.mismatch(
          expected: "values within \(elementType) in cell \(index)",
          found: "\(code.lower) to \(code.upper)")
      }
    }
  }

  func checkCodes() throws {
    guard let expected = Self.codeByteCount(layout, bitWidth: bitWidth), codes.count == expected
    else {
      throw FormatError(
        .truncated(
          expectedBytes: Self.codeByteCount(layout, bitWidth: bitWidth) ?? .max,
          foundBytes: codes.count,
          purpose: "\(counted(layout.elementCount, "code")) of \(bitWidth) bits"))
    }
    guard BitStream.hasZeroTail(codes, count: layout.elementCount, bitWidth: bitWidth) else {
      throw FormatError.malformed("the bits after the last code are not zero")
    }
  }

  /// The parameters that `bytes` hold, all lower bounds first.
  static func parameterValues(
    _ bytes: SharedBytes, _ parameterType: QuantizationParameterType
  ) -> [Float] {
    let width = parameterType.byteWidth
    return bytes.withUnsafeBytes { buffer in
      (0..<buffer.count / width).map { index in
        switch parameterType {
        case .float32: buffer.loadUnaligned(fromByteOffset: index * width, as: Float.self)
        case .float16: Float(buffer.loadUnaligned(fromByteOffset: index * width, as: Float16.self))
        }
      }
    }
  }

  /// The upper half of a finite or infinite Float, rounded to nearest, ties to even.
  static func bfloat16Bits(_ value: Float) -> UInt16 {
    let bits = value.bitPattern
    return UInt16(truncatingIfNeeded: (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
  }
}
