import CLAPACKE

/// The product of a Float matrix with its own transpose, over the smaller dimension: A·Aᵀ for a wide
/// matrix, Aᵀ·A for a tall one.
///
/// Its eigenvalues are the squared singular values. The product is never formed here: `apply`
/// multiplies by one factor, then the other, in double precision, so that only rounding to
/// `2⁻⁵² · σ_max²` separates it from the exact operator.
struct GramOperator: Sendable {
  let rows: Int
  let columns: Int
  /// Row-major elements, finite.
  let values: [Float]

  /// The operator's dimension.
  var count: Int { min(rows, columns) }

  /// Elements of a row that are widened at a time; with as many of the product, they stay in the
  /// first cache.
  private static let piece = 1024

  /// The operator times `vector`, which has `count` elements.
  func apply(_ vector: [Double]) -> [Double] {
    precondition(vector.count == count, "a vector of the operator's dimension")
    return rows <= columns ? applyWide(vector) : applyTall(vector)
  }

  /// A·(Aᵀ·x), by blocks of columns, so that A comes from memory once.
  private func applyWide(_ vector: [Double]) -> [Double] {
    var result = [Double](repeating: 0, count: rows)
    var widened = [Double](repeating: 0, count: min(Self.piece, columns))
    values.withUnsafeBufferPointer { values in
      for left in stride(from: 0, to: columns, by: Self.piece) {
        let width = min(Self.piece, columns - left)
        var product = [Double](repeating: 0, count: width)
        for row in 0..<rows {
          Self.widen(values, from: row * columns + left, count: width, into: &widened)
          cblas_daxpy(Int32(width), vector[row], widened, 1, &product, 1)
        }
        for row in 0..<rows {
          Self.widen(values, from: row * columns + left, count: width, into: &widened)
          result[row] += cblas_ddot(Int32(width), widened, 1, product, 1)
        }
      }
    }
    return result
  }

  /// Aᵀ·(A·x), row by row.
  private func applyTall(_ vector: [Double]) -> [Double] {
    var result = [Double](repeating: 0, count: columns)
    var widened = [Double](repeating: 0, count: columns)
    values.withUnsafeBufferPointer { values in
      for row in 0..<rows {
        Self.widen(values, from: row * columns, count: columns, into: &widened)
        let product = cblas_ddot(Int32(columns), widened, 1, vector, 1)
        cblas_daxpy(Int32(columns), product, widened, 1, &result, 1)
      }
    }
    return result
  }

  private static func widen(
    _ values: UnsafeBufferPointer<Float>, from start: Int, count: Int, into widened: inout [Double]
  ) {
    widened.withUnsafeMutableBufferPointer { output in
      for index in 0..<count { output[index] = Double(values[start + index]) }
    }
  }

  /// Whether no eigenvalue is below `bound`, up to rounding: the matrix of the operator less
  /// `bound` on its diagonal has a Cholesky factor (BLAS's `dsyrk`, LAPACK's `dpotrf`).
  ///
  /// - Complexity: O(rows · columns · count).
  func hasNoEigenvalue(below bound: Double) -> Bool {
    var gram = Self.formed(rows: rows, columns: columns, values: values.map(Double.init))
    for index in 0..<count { gram[index * count + index] -= bound }
    // The upper triangle of rows is the lower triangle of LAPACK's columns.
    return LAPACKE_dpotrf(
      LAPACK_COL_MAJOR, CChar(UInt8(ascii: "L")), Int32(count), &gram, Int32(count)) == 0
  }

  /// The product of a matrix with its own transpose, over the smaller dimension, in double
  /// precision: the upper triangle of a row-major square, BLAS's `dsyrk`.
  ///
  /// - Parameter values: `rows · columns` elements, row by row.
  static func formed(rows: Int, columns: Int, values: [Double]) -> [Double] {
    let count = min(rows, columns)
    var gram = [Double](repeating: 0, count: count * count)
    cblas_dsyrk(
      CblasRowMajor, CblasUpper, rows <= columns ? CblasNoTrans : CblasTrans, Int32(count),
      Int32(max(rows, columns)), 1, values, Int32(columns), 0, &gram, Int32(count))
    return gram
  }

  /// The matrix of the operator in single precision: the upper triangle of a row-major square,
  /// BLAS's `ssyrk`.
  func formed() -> [Float] {
    var gram = [Float](repeating: 0, count: count * count)
    let isWide = rows <= columns
    cblas_ssyrk(
      CblasRowMajor, CblasUpper, isWide ? CblasNoTrans : CblasTrans, Int32(count),
      Int32(max(rows, columns)), 1, values, Int32(columns), 0, &gram, Int32(count))
    return gram
  }
}
