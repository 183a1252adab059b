import Formats

/// Counts the floating-point numbers of a type from one to another.
///
/// Numbers of one sign are ordered as their bits are, so the count is the difference of the bits;
/// across zero, the sum of the magnitudes' bits. Both zeros are one number.
enum UnitsInLastPlace: Sendable {
  case float16, bfloat16, float32, float64

  /// - Returns: `nil` for all types but these four.
  init?(_ elementType: ElementType) {
    switch elementType {
    case .float16: self = .float16
    case .bfloat16: self = .bfloat16
    case .float32: self = .float32
    case .float64: self = .float64
    default: return nil
    }
  }

  /// How many steps from `a` to `b`, both finite and exact in the type.
  func distance(_ a: Double, _ b: Double) -> UInt64 {
    let (x, y) = (magnitudeBits(a), magnitudeBits(b))
    return a.sign == b.sign ? max(x, y) - min(x, y) : x + y
  }

  private func magnitudeBits(_ value: Double) -> UInt64 {
    let magnitude = value.magnitude
    return switch self {
    case .float16: UInt64(Float16(magnitude).bitPattern)
    case .bfloat16: UInt64(Float(magnitude).bitPattern >> 16)
    case .float32: UInt64(Float(magnitude).bitPattern)
    case .float64: magnitude.bitPattern
    }
  }
}
