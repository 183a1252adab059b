import CLAPACKE

/// The thin decomposition `A = U · diag(σ) · Vᵀ`, computed by LAPACK's `dgesdd` with `jobz = 'S'`.
///
/// With `k = min(rows, columns)`, U is `[rows, k]` and Vᵀ is `[k, columns]`. The columns of U and
/// the rows of Vᵀ are orthonormal, even if singular values are zero or equal.
package struct SingularValueDecomposition: Hashable, Sendable {
  /// U, `[rows, k]`.
  package let left: Matrix
  /// The singular values σ, which are not negative, largest first.
  package let values: [Double]
  /// Vᵀ, `[k, columns]`.
  package let right: Matrix

  /// Decomposes `matrix`.
  ///
  /// - Throws: `LAPACKError` if an element is NaN or infinite, if the iteration does not converge,
  ///   or if a dimension exceeds 32 bits.
  /// - Complexity: O(rows · columns · min(rows, columns)).
  package init(of matrix: Matrix) throws {
    try LAPACKError.check(matrix)
    let (rows, columns) = (matrix.rows, matrix.columns)
    let count = min(rows, columns)
    guard count > 0 else {
      left = Matrix(zerosOfRows: rows, columns: 0)
      values = []
      right = Matrix(zerosOfRows: 0, columns: columns)
      return
    }
    // LAPACK's column-major view of this matrix is its transpose, V · diag(σ) · Uᵀ.
    var elements = matrix.values
    var values = [Double](repeating: 0, count: count)
    var right = [Double](repeating: 0, count: columns * count)
    var left = [Double](repeating: 0, count: count * rows)
    let info = OpenBLAS.calls.LAPACKE_dgesdd(
      LAPACK_COL_MAJOR, CChar(UInt8(ascii: "S")), Int32(columns), Int32(rows), &elements,
      Int32(columns), &values, &right, Int32(columns), &left, Int32(count))
    try LAPACKError.check(info, routine: "dgesdd")
    self.values = values
    self.left = Matrix(rows: rows, columns: count, values: left)
    self.right = Matrix(rows: count, columns: columns, values: right)
  }

  /// Returns `U · diag(values) · Vᵀ`, with `values` in place of the singular values.
  ///
  /// - Precondition: There are as many values as singular values.
  package func reconstructed(with values: [Double]) -> Matrix {
    precondition(values.count == self.values.count, "one value a singular value")
    var scaled = right
    for row in 0..<values.count {
      for column in 0..<right.columns { scaled[row, column] *= values[row] }
    }
    return left.multiplied(by: scaled)
  }
}

extension LAPACKError {
  /// Checks that dimensions fit in 32 bits and that every element is finite.
  static func check(_ matrix: Matrix) throws {
    guard matrix.rows <= Int(Int32.max), matrix.columns <= Int(Int32.max) else {
      throw tooLarge(rows: matrix.rows, columns: matrix.columns)
    }
    if let index = matrix.values.firstIndex(where: { !$0.isFinite }) {
      throw nonFiniteElement(
        row: index / matrix.columns, column: index % matrix.columns,
        value: "\(matrix.values[index])")
    }
  }
}
