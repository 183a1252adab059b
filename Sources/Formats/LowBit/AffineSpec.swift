import Storage

/// The storage of a tensor as codes: which elements share parameters, how wide the codes are, and
/// how lower bounds and scales are stored.
///
/// ```swift
/// let spec = AffineSpec(
///   layout: try AffineLayout(rows: 180, columns: 60, granularity: .channel), bitWidth: 2,
///   parameterType: .float32)
/// print(spec.byteCount ?? 0)  // 180 · 60 codes of 2 bits, 180 lower bounds and scales
/// ```
public struct AffineSpec: Hashable, Sendable {
  /// Which elements share a lower bound and a scale.
  public var layout: AffineLayout
  /// The bit width of a code, 1 to 8.
  public var bitWidth: Int
  /// How lower bounds and scales are stored.
  public var parameterType: QuantizationParameterType

  public init(
    layout: AffineLayout, bitWidth: Int, parameterType: QuantizationParameterType = .float32
  ) {
    self.layout = layout
    self.bitWidth = bitWidth
    self.parameterType = parameterType
  }

  /// The number of bytes of the codes; `nil` if the number of bits overflows.
  public var codeByteCount: Int? {
    BitStream.byteCount(count: layout.elementCount, bitWidth: bitWidth)
  }

  /// The number of bytes of all lower bounds and scales.
  public var parameterByteCount: Int {
    // A cell has at least one element, whose bytes were checked to fit; a saturated count of a
    // layout that claims more never equals a real length.
    func product(_ a: Int, _ b: Int) -> Int {
      let (product, overflow) = a.multipliedReportingOverflow(by: b)
      return overflow ? .max : product
    }
    switch parameterType {
    case .float32: return product(layout.cellCount, 8)
    case .float16: return product(layout.cellCount, 4)
    case .scaled6:
      guard let codes = BitStream.byteCount(count: layout.cellCount, bitWidth: 6) else {
        return .max
      }
      let (sum, overflow) = product(layout.rows, 2).addingReportingOverflow(product(codes, 2))
      return overflow ? .max : sum
    }
  }

  /// - Throws: `ModelError` when the parameters' type does not suit the granularity.
  package func checkParameterType() throws {
    guard parameterType.suits(layout.granularity) else {
      throw ModelError.mismatch(
        expected: "groups, which parameters of type '\(parameterType)' are for",
        found: "\(layout.granularity)")
    }
  }

  /// The number of bytes of parameters and codes; `nil` if it overflows.
  public var byteCount: Int? {
    guard let codes = codeByteCount else { return nil }
    let (sum, overflow) = parameterByteCount.addingReportingOverflow(codes)
    return overflow ? nil : sum
  }
}
