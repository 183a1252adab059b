import CLAPACKE

/// The factor `A = L · Lᵀ` of a symmetric positive definite matrix: LAPACK's `dpotrf`.
public struct Cholesky: Hashable, Sendable {
  /// L, with zeros above the diagonal.
  public let lower: Matrix

  /// Factors `matrix`: LAPACK's `dpotrf`.
  ///
  /// - Parameter matrix: square and symmetric; the lower triangle alone is read.
  /// - Throws: `LAPACKError.noConvergence` when the matrix is not positive definite, with the order
  ///   of the leading minor that is not; other cases when an element is not finite.
  /// - Precondition: `matrix` is square.
  public init(of matrix: Matrix) throws {
    precondition(matrix.rows == matrix.columns, "a factor of a matrix that is not square")
    try LAPACKError.check(matrix)
    var factor = matrix
    let order = Int32(matrix.rows)
    if order > 0 {
      // The lower triangle of rows is the upper one of LAPACK's columns.
      let info = factor.withUnsafeMutableValues { elements in
        BLASThreads.perform {
          LAPACKE_dpotrf(
            LAPACK_COL_MAJOR, CChar(UInt8(ascii: "U")), order, elements.baseAddress, order)
        }
      }
      try LAPACKError.check(info, routine: "dpotrf")
    }
    for row in 0..<factor.rows {
      for column in row + 1..<max(row + 1, factor.columns) { factor[row, column] = 0 }
    }
    lower = factor
  }

  /// `A⁻¹`: LAPACK's `dpotri`.
  public func inverse() throws -> Matrix {
    var inverse = lower
    let order = Int32(lower.rows)
    guard order > 0 else { return inverse }
    let info = inverse.withUnsafeMutableValues { elements in
      BLASThreads.perform {
        LAPACKE_dpotri(
          LAPACK_COL_MAJOR, CChar(UInt8(ascii: "U")), order, elements.baseAddress, order)
      }
    }
    try LAPACKError.check(info, routine: "dpotri")
    for row in 0..<inverse.rows {
      for column in 0..<row { inverse[column, row] = inverse[row, column] }
    }
    return inverse
  }

  /// X with `X · A = right`: LAPACK's `dpotrs`, which solves for the rows of `right`.
  ///
  /// - Precondition: `right` has as many columns as A.
  public func solve(rowsOf right: Matrix) throws -> Matrix {
    precondition(right.columns == lower.rows, "the rows are not as long as the factor")
    guard right.rows > 0, right.columns > 0 else { return right }
    var solution = right
    // Rows here are LAPACK's columns, and A is symmetric.
    let order = Int32(lower.rows)
    let info = solution.withUnsafeMutableValues {
      LAPACKE_dpotrs(
        LAPACK_COL_MAJOR, CChar(UInt8(ascii: "U")), order, Int32(right.rows), lower.values, order,
        $0.baseAddress, order)
    }
    try LAPACKError.check(info, routine: "dpotrs")
    return solution
  }
}
