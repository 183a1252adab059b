import Glibc
import LinearAlgebra

/// The singular values of a weight matrix and quantities derived from them.
///
/// ```swift
/// let spectrum = try Spectrum(of: Matrix(rows: 2, columns: 2, values: [4, 0, 0, 2]))
/// print(spectrum.conditionNumber, spectrum.stableRank)  // 2.0 1.25
/// ```
public struct Spectrum: Hashable, Sendable {
  /// All `min(rows, columns)` singular values, largest first.
  public let singularValues: [Double]
  /// The largest singular value that counts as zero: `max(rows, columns) · 2⁻⁵² · σ_max`, NumPy's
  /// rule for `matrix_rank` in double precision.
  ///
  /// The element type is irrelevant: stored numbers are treated as exact. A matrix of repeated rows
  /// is rank-deficient in any type, while one that is rank-deficient only up to Float's rounding
  /// has a large but finite condition number.
  public let rankTolerance: Double

  /// Computes all singular values of `matrix`.
  ///
  /// - Throws: `LAPACKError`, in particular for NaN and infinite elements.
  /// - Precondition: The matrix is not empty.
  public init(of matrix: Matrix) throws {
    self.init(
      singularValues: try SingularValues(of: matrix).values, rows: matrix.rows,
      columns: matrix.columns)
  }

  /// Creates a spectrum from known singular values.
  ///
  /// - Parameter singularValues: All singular values, largest first.
  init(singularValues: [Double], rows: Int, columns: Int) {
    precondition(
      singularValues.count == min(rows, columns) && !singularValues.isEmpty,
      "[\(rows), \(columns)] does not have \(singularValues.count) singular values")
    self.singularValues = singularValues
    rankTolerance = Double(max(rows, columns)) * .ulpOfOne * singularValues[0]
  }

  /// The largest singular value, which is the matrix's spectral norm.
  public var sigmaMax: Double { singularValues[0] }

  /// The smallest of the `min(rows, columns)` singular values, as computed: because of rounding, it
  /// is rarely exactly zero for rank-deficient matrices.
  public var sigmaMin: Double { singularValues[singularValues.count - 1] }

  /// The number of singular values above `rankTolerance`.
  public var numericalRank: Int { singularValues.count { $0 > rankTolerance } }

  /// σ_max / σ_min; infinite if the matrix is rank-deficient (σ_min ≤ `rankTolerance`), as the zero
  /// matrix is.
  public var conditionNumber: Double {
    sigmaMin > rankTolerance ? sigmaMax / sigmaMin : .infinity
  }

  /// The Frobenius norm, √Σσ².
  public var frobeniusNorm: Double { sigmaMax * stableRank.squareRoot() }

  /// ‖W‖_F² / σ_max², between 1 and the rank; 0 for the zero matrix.
  public var stableRank: Double {
    guard sigmaMax > 0 else { return 0 }
    // Dividing first prevents the squares from overflowing.
    return singularValues.reduce(0) { $0 + ($1 / sigmaMax) * ($1 / sigmaMax) }
  }

  /// exp(−Σ p ln p) with p = σ/Σσ, between 1 and the rank; 0 for the zero matrix.
  ///
  /// Source: Roy and Vetterli, "The effective rank: a measure of effective dimensionality",
  /// EUSIPCO 2007.
  public var effectiveRank: Double { sigmaMax > 0 ? exp(spectralEntropy) : 0 }

  /// −Σ p ln p with p = σ/Σσ, in nats, between 0 and the rank's logarithm; 0 for the zero matrix.
  public var spectralEntropy: Double {
    guard sigmaMax > 0 else { return 0 }
    let total = singularValues.reduce(0) { $0 + $1 / sigmaMax }
    return singularValues.reduce(0) { entropy, value in
      let share = value / sigmaMax / total
      return share > 0 ? entropy - share * log(share) : entropy
    }
  }

  /// The nuclear norm, Σσ.
  public var nuclearNorm: Double { singularValues.reduce(0, +) }

  /// The power law of the eigenvalues σ² above the rank tolerance; `nil` if there are too few.
  package var powerLaw: PowerLawFit? {
    // Scaling by σ_max prevents overflow and underflow of squares; the exponent is scale-invariant.
    let eigenvalues = singularValues.reversed().filter { $0 > rankTolerance }
      .map { ($0 / sigmaMax) * ($0 / sigmaMax) }
    guard var fit = PowerLawFit(ascending: eigenvalues) else { return nil }
    fit.start *= sigmaMax * sigmaMax
    return fit
  }

  /// Returns at most `count` of the values, evenly spaced by rank, including the first and the
  /// last.
  package func outline(count: Int = 32) -> [Double] {
    precondition(count >= 2, "an outline has two ends")
    guard singularValues.count > count else { return singularValues }
    return (0..<count).map { singularValues[$0 * (singularValues.count - 1) / (count - 1)] }
  }
}
