import Formats
import Storage

extension ElementType {
  /// Returns `values` as little-endian elements of a floating-point type, rounded to nearest.
  public func bytes(rounding values: [Double]) -> SharedBytes {
    switch self {
    case .float16: SharedBytes(elementsOf: values.map { Float16($0) })
    case .bfloat16:
      SharedBytes(
        elementsOf: values.map { value in
          let bits = Float(value).bitPattern
          return UInt16(truncatingIfNeeded: (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
        })
    case .float64: SharedBytes(elementsOf: values)
    default: SharedBytes(elementsOf: values.map { Float($0) })
    }
  }
}
