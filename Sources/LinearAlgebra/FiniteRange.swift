/// The smallest and the largest of finite numbers.
package struct FiniteRange {
  package let lower: Double
  package let upper: Double

  /// The largest absolute value.
  package var magnitude: Double { max(upper.magnitude, lower.magnitude) }

  /// Finds the range in vectors of eight elements.
  ///
  /// - Returns: `nil` if there are no elements, or if one is NaN or infinite.
  package init?(of values: UnsafeBufferPointer<Double>) {
    guard let first = values.first, first.isFinite else { return nil }
    var (lower, upper) = (SIMD8(repeating: first), SIMD8(repeating: first))
    // Zero times anything else is NaN.
    var zeros = SIMD8<Double>.zero
    let lanes = SIMD8<Double>.scalarCount
    let whole = values.count / lanes * lanes
    let start = UnsafeRawPointer(values.baseAddress!)
    for index in stride(from: 0, to: values.count, by: lanes) {
      let group =
        index < whole
        ? start.loadUnaligned(
          fromByteOffset: index * MemoryLayout<Double>.stride, as: SIMD8<Double>.self)
        : Self.last(values[whole...], fill: first)
      lower.replace(with: group, where: group .< lower)
      upper.replace(with: group, where: group .> upper)
      zeros += group * 0
    }
    guard zeros == .zero else { return nil }
    self.lower = lower.min()
    self.upper = upper.max()
  }

  /// Returns fewer elements than a vector holds, followed by `fill`.
  private static func last(
    _ rest: Slice<UnsafeBufferPointer<Double>>, fill: Double
  ) -> SIMD8<Double> {
    var group = SIMD8(repeating: fill)
    for (lane, value) in rest.enumerated() { group[lane] = value }
    return group
  }
}
