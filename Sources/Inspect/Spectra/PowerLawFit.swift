import Glibc

/// A power law p(x) ∝ x^−α fitted to the upper tail of a matrix's eigenvalues λ = σ².
///
/// The tail starts at the eigenvalue x_min at which the fitted law is closest to the observed
/// distribution (smallest Kolmogorov–Smirnov distance). α is the maximum-likelihood estimate
/// 1 + n / Σ ln(x / x_min) over the n eigenvalues from there on. WeightWatcher computes its `alpha`
/// the same way.
///
/// Source: Clauset, Shalizi and Newman, "Power-law distributions in empirical data", SIAM Review
/// 51, 2009, equations 3.1 and 3.9.
package struct PowerLawFit: Codable, Hashable, Sendable {
  /// The exponent. Martin and Mahoney consider 2 to 6 well trained.
  package var alpha: Double
  /// The smallest eigenvalue of the tail.
  package var start: Double
  /// The number of eigenvalues in the tail.
  package var tailCount: Int
  /// The Kolmogorov–Smirnov distance, 0…1.
  package var distance: Double

  /// The smallest number of eigenvalues that is fitted, as in WeightWatcher.
  static let leastCount = 8

  /// Fits a power law to `eigenvalues`.
  ///
  /// - Parameter eigenvalues: Positive finite values, smallest first.
  /// - Returns: `nil` for fewer than `leastCount` values, or if all are equal.
  /// - Complexity: O(n²) for n eigenvalues.
  package init?(ascending eigenvalues: [Double]) {
    guard eigenvalues.count >= Self.leastCount else { return nil }
    let logarithms = eigenvalues.map { log($0) }
    var best: (distance: Double, index: Int, alpha: Double)?
    var tailSum = logarithms[logarithms.count - 1]
    for index in (0..<logarithms.count - 1).reversed() {
      tailSum += logarithms[index]
      let count = Double(logarithms.count - index)
      let excess = tailSum - count * logarithms[index]
      guard excess > 0 else { continue }
      let alpha = 1 + count / excess
      let distance = Self.distance(logarithms[index...], alpha: alpha)
      // Among equal distances, the longest tail wins, as with NumPy's first minimum.
      if distance <= best?.distance ?? .infinity { best = (distance, index, alpha) }
    }
    guard let best else { return nil }
    alpha = best.alpha
    start = eigenvalues[best.index]
    tailCount = eigenvalues.count - best.index
    distance = best.distance
  }

  /// Returns max |1 − (x/x_min)^(1−α) − i/n| over the tail.
  private static func distance(_ tail: ArraySlice<Double>, alpha: Double) -> Double {
    let start = tail[tail.startIndex]
    let share = 1 / Double(tail.count)
    var distance = 0.0
    for (rank, value) in tail.enumerated() {
      let law = 1 - exp((1 - alpha) * (value - start))
      distance = max(distance, abs(law - Double(rank) * share))
    }
    return distance
  }
}
