import CLAPACKE

/// The Cholesky factorization `A = L · Lᵀ` of a symmetric positive definite matrix.
package struct Cholesky: Hashable, Sendable {
  /// L, with zeros above the diagonal.
  package let lower: Matrix

  /// Factors `matrix` by LAPACK's `dpotrf`.
  ///
  /// - Parameter matrix: A square symmetric matrix; only the lower triangle is read.
  /// - Throws: `LAPACKError.noConvergence` with the order of the leading minor that is not positive
  ///   if the matrix is not positive definite; other cases if an element is not finite.
  /// - Precondition: `matrix` is square.
  package init(of matrix: Matrix) throws {
    precondition(matrix.rows == matrix.columns, "a factor of a matrix that is not square")
    try LAPACKError.check(matrix)
    var factor = matrix
    let order = Int32(matrix.rows)
    if order > 0 {
      // The lower triangle in row-major order is the upper one in LAPACK's column-major order.
      let info = factor.withUnsafeMutableValues { elements in
        BLASThreads.perform {
          OpenBLAS.calls.LAPACKE_dpotrf(
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

  /// Returns `A⁻¹`, computed by LAPACK's `dpotri`.
  package func inverse() throws -> Matrix {
    var inverse = lower
    let order = Int32(lower.rows)
    guard order > 0 else { return inverse }
    let info = inverse.withUnsafeMutableValues { elements in
      BLASThreads.perform {
        OpenBLAS.calls.LAPACKE_dpotri(
          LAPACK_COL_MAJOR, CChar(UInt8(ascii: "U")), order, elements.baseAddress, order)
      }
    }
    try LAPACKError.check(info, routine: "dpotri")
    for row in 0..<inverse.rows {
      for column in 0..<row { inverse[column, row] = inverse[row, column] }
    }
    return inverse
  }

  /// Returns the X with `X · A = right`, computed by LAPACK's `dpotrs` for the rows of `right`.
  ///
  /// - Precondition: `right` has as many columns as A.
  package func solve(rowsOf right: Matrix) throws -> Matrix {
    precondition(right.columns == lower.rows, "the rows are not as long as the factor")
    guard right.rows > 0, right.columns > 0 else { return right }
    var solution = right
    // Row-major rows are LAPACK's columns, and A is symmetric.
    let order = Int32(lower.rows)
    let info = solution.withUnsafeMutableValues {
      OpenBLAS.calls.LAPACKE_dpotrs(
        LAPACK_COL_MAJOR, CChar(UInt8(ascii: "U")), order, Int32(right.rows), lower.values, order,
        $0.baseAddress, order)
    }
    try LAPACKError.check(info, routine: "dpotrs")
    return solution
  }
}
