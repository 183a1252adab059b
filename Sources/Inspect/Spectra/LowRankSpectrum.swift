import Formats
import LinearAlgebra

extension LowRankPair {
  /// The singular values of the difference that the factors stand for, found without forming it.
  ///
  /// With thin decompositions `up = U₁ Σ₁ V₁ᵀ` and `down = U₂ Σ₂ V₂ᵀ`, they are those of the small
  /// matrix `scale · Σ₁ V₁ᵀ U₂ Σ₂`, whose order is at most the rank; all others are zero.
  ///
  /// - Throws: `ModelError` when the factors cannot be read, `LAPACKError` for elements that are not
  ///   finite.
  /// - Complexity: O((out + in) · rank²).
  func spectrum() throws -> Spectrum {
    let up = try self.up.doubleValues()
    let down = try self.down.doubleValues()
    let left = try SingularValueDecomposition(
      of: Matrix(rows: up.count / rank, columns: rank, values: up))
    let right = try SingularValueDecomposition(
      of: Matrix(rows: rank, columns: down.count / rank, values: down))
    var core = left.right.multiplied(by: right.left)
    for row in 0..<core.rows {
      for column in 0..<core.columns {
        core[row, column] *= left.values[row] * right.values[column] * scale
      }
    }
    let (rows, columns) = (up.count / rank, down.count / rank)
    var values = try SingularValues(of: core).values
    values += [Double](repeating: 0, count: min(rows, columns) - values.count)
    return Spectrum(singularValues: values, rows: rows, columns: columns)
  }
}
