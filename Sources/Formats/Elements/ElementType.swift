/// The type of one tensor element, as the supported file formats define it.
///
/// Every type is stored little-endian in memory and in files that condi-convert writes. The raw
/// value is the stable name used in reports and in packed headers; it follows PyTorch's naming.
///
/// ```swift
/// let type = ElementType.float4E2M1
/// print(type, type.bitWidth, type.byteCount(forElements: 1000) ?? 0)  // float4_e2m1 4 500
/// ```
public enum ElementType: String, Sendable, CaseIterable, Hashable {
  case bool
  case uint8, uint16, uint32, uint64
  case int8, int16, int32, int64
  case float16, bfloat16, float32, float64
  /// Complex numbers: real part, then imaginary part, each half the width.
  case complex32, complex64, complex128
  /// 8-bit floating point. `fn`: no infinities, only finite values and NaN; `uz`: one unsigned
  /// zero.
  case float8E4M3FN = "float8_e4m3fn"
  case float8E4M3FNUZ = "float8_e4m3fnuz"
  case float8E5M2 = "float8_e5m2"
  case float8E5M2FNUZ = "float8_e5m2fnuz"
  /// An 8-bit exponent without a mantissa: 2^(code − 127), where 255 means NaN.
  case float8E8M0FNU = "float8_e8m0fnu"
  /// OCP microscaling types; elements are packed without padding, low bits first.
  case float4E2M1 = "float4_e2m1"
  case float6E2M3 = "float6_e2m3"
  case float6E3M2 = "float6_e3m2"
  /// PyTorch's uninterpreted bytes and words: kept bit for bit, never read as numbers.
  case bits8, bits16, bits1x8, bits2x4, bits4x2

  /// Bits of one element: 4 and 6 for the packed microscaling types, a multiple of 8 otherwise.
  public var bitWidth: Int {
    switch self {
    case .float4E2M1: 4
    case .float6E2M3, .float6E3M2: 6
    case .bool, .uint8, .int8, .float8E4M3FN, .float8E4M3FNUZ, .float8E5M2, .float8E5M2FNUZ,
      .float8E8M0FNU, .bits8, .bits1x8, .bits2x4, .bits4x2:
      8
    case .uint16, .int16, .float16, .bfloat16, .bits16: 16
    case .uint32, .int32, .float32, .complex32: 32
    case .uint64, .int64, .float64, .complex64: 64
    case .complex128: 128
    }
  }

  /// Bytes of one element, or `nil` for types narrower than a byte.
  public var byteWidth: Int? {
    bitWidth.isMultiple(of: 8) ? bitWidth / 8 : nil
  }

  /// The width in bytes of the units that byte order applies to; a complex number has two of them.
  var byteSwapWidth: Int {
    isComplex ? bitWidth / 16 : max(1, bitWidth / 8)
  }

  /// Whether this is a real floating-point type of any width.
  public var isFloatingPoint: Bool {
    switch self {
    case .float16, .bfloat16, .float32, .float64, .float8E4M3FN, .float8E4M3FNUZ, .float8E5M2,
      .float8E5M2FNUZ, .float8E8M0FNU, .float4E2M1, .float6E2M3, .float6E3M2:
      true
    default: false
    }
  }

  /// Whether this is a signed or unsigned integer type; booleans and uninterpreted bits are not.
  public var isInteger: Bool {
    switch self {
    case .uint8, .uint16, .uint32, .uint64, .int8, .int16, .int32, .int64: true
    default: false
    }
  }

  /// Whether an element has a real and an imaginary part.
  public var isComplex: Bool {
    switch self {
    case .complex32, .complex64, .complex128: true
    default: false
    }
  }

  /// Returns the bytes of `elementCount` elements packed without gaps.
  ///
  /// - Returns: `nil` when the count overflows or the bits do not fill whole bytes.
  public func byteCount(forElements elementCount: Int) -> Int? {
    let (bits, overflow) = elementCount.multipliedReportingOverflow(by: bitWidth)
    guard !overflow, bits.isMultiple(of: 8) else { return nil }
    return bits / 8
  }
}

extension ElementType: CustomStringConvertible {
  public var description: String { rawValue }
}
