import Foundation
import LinearAlgebra

/// The singular values of a weight matrix and what they say about it.
public struct Spectrum: Hashable, Sendable {
  /// All `min(rows, columns)` singular values, largest first.
  public let singularValues: [Double]
  /// Singular values up to this many count as zero: `max(rows, columns) · 2⁻⁵² · σ_max`, NumPy's
  /// rule for `matrix_rank` in double precision.
  ///
  /// The element type plays no part: stored numbers are taken as exact. A matrix of repeated rows
  /// is rank-deficient in any type, while one that is so only up to Float's rounding has a large
  /// but finite condition number.
  public let rankTolerance: Double

  /// - Throws: `LAPACKError`, in particular for NaN and infinite elements.
  /// - Precondition: the matrix is not empty.
  public init(of matrix: Matrix) throws {
    self.init(
      singularValues: try SingularValues(of: matrix).values, rows: matrix.rows,
      columns: matrix.columns)
  }

  /// - Parameter singularValues: all of them, largest first.
  init(singularValues: [Double], rows: Int, columns: Int) {
    precondition(
      singularValues.count == min(rows, columns) && !singularValues.isEmpty,
      "[\(rows), \(columns)] has not \(singularValues.count) singular values")
    self.singularValues = singularValues
    rankTolerance = Double(max(rows, columns)) * .ulpOfOne * singularValues[0]
  }

  /// The largest singular value, which is the matrix's spectral norm.
  public var sigmaMax: Double { singularValues[0] }

  /// The smallest of the `min(rows, columns)` singular values, as computed: rounding keeps it from
  /// being exactly zero for most rank-deficient matrices.
  public var sigmaMin: Double { singularValues[singularValues.count - 1] }

  /// How many singular values are above `rankTolerance`.
  public var numericalRank: Int { singularValues.count { $0 > rankTolerance } }

  /// σ_max / σ_min; infinite when the matrix is rank-deficient (σ_min ≤ `rankTolerance`), which
  /// includes the zero matrix.
  public var conditionNumber: Double {
    sigmaMin > rankTolerance ? sigmaMax / sigmaMin : .infinity
  }

  /// The Frobenius norm, √Σσ².
  public var frobeniusNorm: Double { sigmaMax * stableRank.squareRoot() }

  /// ‖W‖_F² / σ_max², between 1 and the rank; 0 for the zero matrix.
  public var stableRank: Double {
    guard sigmaMax > 0 else { return 0 }
    // Dividing first keeps the squares from overflowing.
    return singularValues.reduce(0) { $0 + ($1 / sigmaMax) * ($1 / sigmaMax) }
  }

  /// exp(−Σ p ln p) with p = σ/Σσ, between 1 and the rank; 0 for the zero matrix.
  ///
  /// Source: Roy and Vetterli, "The effective rank: a measure of effective dimensionality",
  /// EUSIPCO 2007.
  public var effectiveRank: Double {
    guard sigmaMax > 0 else { return 0 }
    let total = singularValues.reduce(0) { $0 + $1 / sigmaMax }
    let entropy = singularValues.reduce(0) { entropy, value in
      let share = value / sigmaMax / total
      return share > 0 ? entropy - share * log(share) : entropy
    }
    return exp(entropy)
  }
}
