/// How far the numbers of tensor B are from those of tensor A.
///
/// Pairs in which a number is NaN or infinite are left out of everything but the counts. NaN equals
/// NaN, whatever its bits, unless the comparison tells them apart; zeros of both signs are equal.
public struct NumberComparison: Codable, Hashable, Sendable {
  /// Pairs of numbers compared.
  public var elementCount: Int
  /// Pairs that differ by more than the tolerance, or of which only one is NaN or infinite.
  public var changedElementCount: Int
  /// `changedElementCount / elementCount`; 0 when there are no elements.
  public var changedShare: Double
  /// Pairs that differ and in which at least one number is NaN or infinite.
  public var nonFiniteDifferenceCount: Int
  /// The largest absolute difference, max |b − a|.
  public var maximumAbsolute: Double
  /// max |b − a| / |a| over the pairs with b ≠ a; infinite when a is zero in one of them.
  public var maximumRelative: Double
  /// The root mean square difference, √(mean (b − a)²).
  public var rootMeanSquare: Double
  /// Σ(b − a)² / Σa²: 0 when nothing differs, infinite when only a is zero.
  public var normalizedMeanSquare: Double
  /// 10 log₁₀(Σa² / Σ(b − a)²) in decibels; infinite when nothing differs.
  public var signalToNoise: Double
  /// Σab / √(Σa² Σb²): 1 when both are zero, 0 when one is; `nil` when products of the numbers lie
  /// outside the range of `Double`.
  public var cosine: Double?
  /// The most floating-point numbers of the tensors' type that lie between a and b, b counted;
  /// `nil` unless both tensors are of one IEEE type: float16, bfloat16, float32 or float64.
  public var maximumUnitsInLastPlace: UInt64?
  /// How often which magnitudes of b − a occur; `nil` when nothing differs.
  public var histogram: ChangeHistogram?
}

/// How many differences lie between neighbouring powers of two.
public struct ChangeHistogram: Codable, Hashable, Sendable {
  /// `counts[0]` is of 0 < |b − a| < 2^(lowestExponent + 1), `counts[i]` of those from
  /// 2^(lowestExponent + i) to twice that.
  public var lowestExponent: Int
  /// At most 32 bins; smaller differences are counted in the first.
  public var counts: [Int]

  /// Bins from the largest difference on: a factor of 2³².
  static let binLimit = 32

  /// - Parameter counts: of each exponent from `lowestExponent` on.
  /// - Returns: `nil` when there are none.
  init?(lowestExponent: Int, counts: [Int]) {
    guard let first = counts.firstIndex(where: { $0 > 0 }),
      let last = counts.lastIndex(where: { $0 > 0 })
    else { return nil }
    let start = max(first, last - Self.binLimit + 1)
    self.lowestExponent = lowestExponent + start
    self.counts = Array(counts[start...last])
    self.counts[0] += counts[first..<start].reduce(0, +)
  }
}
