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
    let (byteCount, overflow) = layout.cellCount.multipliedReportingOverflow(
      by: 2 * parameterType.byteWidth)
    return overflow ? .max : byteCount
  }

  /// The number of bytes of parameters and codes; `nil` if it overflows.
  public var byteCount: Int? {
    guard let codes = codeByteCount else { return nil }
    let (sum, overflow) = parameterByteCount.addingReportingOverflow(codes)
    return overflow ? nil : sum
  }
}
