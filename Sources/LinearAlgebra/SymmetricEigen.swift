import CLAPACKE

/// The eigenvalues of a symmetric matrix, computed by LAPACK's `dsyevd` with `jobz = 'N'`.
package struct SymmetricEigenvalues: Hashable, Sendable {
  /// The eigenvalues, smallest first.
  package let values: [Double]

  /// Computes all eigenvalues of `matrix`.
  ///
  /// - Parameter matrix: A square matrix; only the upper triangle is read.
  /// - Throws: `LAPACKError` if an element is NaN or infinite, or if the iteration does not
  ///   converge.
  /// - Precondition: `matrix` is square.
  package init(of matrix: Matrix) throws {
    precondition(matrix.rows == matrix.columns, "eigenvalues of a matrix that is not square")
    try LAPACKError.check(matrix)
    guard matrix.rows > 0 else {
      values = []
      return
    }
    var elements = matrix.values
    var values = [Double](repeating: 0, count: matrix.rows)
    // The upper triangle in row-major order is the lower one in LAPACK's column-major order.
    let info = BLASThreads.perform {
      OpenBLAS.calls.LAPACKE_dsyevd(
        LAPACK_COL_MAJOR, CChar(UInt8(ascii: "N")), CChar(UInt8(ascii: "L")), Int32(matrix.rows),
        &elements, Int32(matrix.rows), &values)
    }
    try LAPACKError.check(info, routine: "dsyevd")
    self.values = values
  }
}
