extension Tensor {
  /// Every element as a `Float`, rounded to nearest where the type is wider; booleans are 0 and 1.
  ///
  /// - Throws: `FormatError` for complex and uninterpreted element types, and on reading errors.
  public func floatValues() throws -> [Float] { try values(as: Float.self) }

  /// Every element as a `Double`; integers past 2^53 are rounded to nearest.
  ///
  /// - Throws: `FormatError` for complex and uninterpreted element types, and on reading errors.
  public func doubleValues() throws -> [Double] { try values(as: Double.self) }

  private func values<Value: BinaryFloatingPoint>(as type: Value.Type) throws -> [Value] {
    let bytes = try bytes()
    return try bytes.withUnsafeBytes { buffer in
      switch elementType {
      case .float32: map(buffer, Float.self) { Value($0) }
      case .float64: map(buffer, Double.self) { Value($0) }
      case .float16: map(buffer, Float16.self) { Value($0) }
      case .bfloat16: map(buffer, UInt16.self) { Value(Float(bitPattern: UInt32($0) << 16)) }
      case .bool: map(buffer, UInt8.self) { $0 == 0 ? 0 : 1 }
      case .uint8: map(buffer, UInt8.self) { Value($0) }
      case .uint16: map(buffer, UInt16.self) { Value($0) }
      case .uint32: map(buffer, UInt32.self) { Value($0) }
      case .uint64: map(buffer, UInt64.self) { Value($0) }
      case .int8: map(buffer, Int8.self) { Value($0) }
      case .int16: map(buffer, Int16.self) { Value($0) }
      case .int32: map(buffer, Int32.self) { Value($0) }
      case .int64: map(buffer, Int64.self) { Value($0) }
      case .float8E4M3FN, .float8E4M3FNUZ, .float8E5M2, .float8E5M2FNUZ, .float8E8M0FNU:
        mapCodes(buffer, bitWidth: 8)
      case .float4E2M1: mapCodes(buffer, bitWidth: 4)
      case .float6E2M3, .float6E3M2: mapCodes(buffer, bitWidth: 6)
      case .complex32, .complex64, .complex128, .bits8, .bits16, .bits1x8, .bits2x4, .bits4x2:
        throw FormatError.unsupported("\(elementType) elements are not real numbers")
      }
    }
  }

  private func map<Element: BitwiseCopyable, Value>(
    _ buffer: UnsafeRawBufferPointer, _ element: Element.Type, _ convert: (Element) -> Value
  ) -> [Value] {
    let width = MemoryLayout<Element>.size
    return [Value](unsafeUninitializedCapacity: shape.elementCount) { output, count in
      for index in 0..<shape.elementCount {
        output.initializeElement(
          at: index,
          to: convert(buffer.loadUnaligned(fromByteOffset: index * width, as: Element.self)))
      }
      count = shape.elementCount
    }
  }

  /// Narrow floating-point codes through a table of all their values.
  private func mapCodes<Value: BinaryFloatingPoint>(
    _ buffer: UnsafeRawBufferPointer, bitWidth: Int
  ) -> [Value] {
    let format = NarrowFloat(elementType)!
    let table = (0..<(1 << bitWidth)).map { Value(format.decode($0)) }
    return (0..<shape.elementCount).map { index in
      let bit = index * bitWidth
      // A 6-bit element may straddle two bytes; the byte after the last one is never needed.
      var word = Int(buffer[bit / 8])
      if bit % 8 + bitWidth > 8 { word |= Int(buffer[bit / 8 + 1]) << 8 }
      return table[(word >> (bit % 8)) & ((1 << bitWidth) - 1)]
    }
  }
}

/// A floating-point format of at most 8 bits: how many exponent and mantissa bits, and which codes
/// are special. Sources: OCP 8-bit floating point (OFP8) 1.0, OCP microscaling (MX) 1.0, and the
/// `fnuz` variants of LLVM's APFloat.
struct NarrowFloat {
  private enum Specials { case none, ieee, nanOnlyAllOnes, nanIsNegativeZero }
  private let exponentBits: Int
  private let mantissaBits: Int
  private let bias: Int
  private let specials: Specials
  private let isExponentOnly: Bool

  /// - Returns: `nil` for element types that are wider or not floating point.
  init?(_ elementType: ElementType) {
    let parameters: (exponent: Int, mantissa: Int, bias: Int, specials: Specials)
    switch elementType {
    case .float8E4M3FN: parameters = (4, 3, 7, .nanOnlyAllOnes)
    case .float8E4M3FNUZ: parameters = (4, 3, 8, .nanIsNegativeZero)
    case .float8E5M2: parameters = (5, 2, 15, .ieee)
    case .float8E5M2FNUZ: parameters = (5, 2, 16, .nanIsNegativeZero)
    case .float4E2M1: parameters = (2, 1, 1, .none)
    case .float6E2M3: parameters = (2, 3, 1, .none)
    case .float6E3M2: parameters = (3, 2, 3, .none)
    case .float8E8M0FNU: parameters = (8, 0, 127, .none)
    default: return nil
    }
    (exponentBits, mantissaBits, bias, specials) = parameters
    isExponentOnly = elementType == .float8E8M0FNU
  }

  /// The value of `code`, exactly.
  func decode(_ code: Int) -> Double {
    if isExponentOnly { return code == 255 ? .nan : power(code - bias) }
    let mantissaCount = 1 << mantissaBits
    let mantissa = code & (mantissaCount - 1)
    let exponentMaximum = (1 << exponentBits) - 1
    let exponent = (code >> mantissaBits) & exponentMaximum
    let isNegative = code >> (exponentBits + mantissaBits) & 1 == 1
    let sign = isNegative ? -1.0 : 1.0
    switch specials {
    case .ieee where exponent == exponentMaximum:
      return mantissa == 0 ? sign * .infinity : .nan
    case .nanOnlyAllOnes where exponent == exponentMaximum && mantissa == mantissaCount - 1:
      return .nan
    case .nanIsNegativeZero where isNegative && exponent == 0 && mantissa == 0:
      return .nan
    default: break
    }
    let fraction = Double(mantissa) / Double(mantissaCount)
    return exponent == 0
      ? sign * fraction * power(1 - bias) : sign * (1 + fraction) * power(exponent - bias)
  }

  private func power(_ exponent: Int) -> Double {
    Double(sign: .plus, exponent: exponent, significand: 1)
  }
}
