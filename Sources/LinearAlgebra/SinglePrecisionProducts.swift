import CLAPACKE

/// A row-major float32 matrix in memory owned by the caller.
package struct SinglePrecisionOperand {
  package let start: UnsafePointer<Float>
  /// The distance between rows in elements, at least the length of a row.
  package let stride: Int
  /// Whether the product uses the transposed matrix.
  package let isTransposed: Bool

  package init(_ start: UnsafePointer<Float>, stride: Int, isTransposed: Bool = false) {
    self.start = start
    self.stride = stride
    self.isTransposed = isTransposed
  }
}

/// Computes `c = a · b` or `c += a · b` in single precision by BLAS's `sgemm`, all row-major.
///
/// - Parameters:
///   - rows: The rows of `c` and of `a` as it enters the product.
///   - columns: The columns of `c` and of `b` as it enters the product.
///   - inner: The columns of `a` and rows of `b` as they enter the product.
///   - isAdding: Whether the product is added to `c`; otherwise `c` is overwritten without being
///     read.
/// - Precondition: The counts are not negative and fit in 32 bits; `c` overlaps neither factor.
package func multiplySinglePrecision(
  rows: Int, columns: Int, inner: Int, _ a: SinglePrecisionOperand, _ b: SinglePrecisionOperand,
  to c: UnsafeMutablePointer<Float>, stride: Int, isAdding: Bool = false
) {
  guard rows > 0, columns > 0 else { return }
  OpenBLAS.calls.cblas_sgemm(
    CblasRowMajor, a.isTransposed ? CblasTrans : CblasNoTrans,
    b.isTransposed ? CblasTrans : CblasNoTrans, blasint(rows), blasint(columns), blasint(inner), 1,
    a.start, blasint(a.stride), b.start, blasint(b.stride), isAdding ? 1 : 0, c, blasint(stride))
}
