import CLAPACKE

/// A row-major float32 matrix in memory that someone else owns.
package struct SinglePrecisionOperand {
  package let start: UnsafePointer<Float>
  /// Elements from row to row, at least as many as a row has.
  package let stride: Int
  /// Whether it takes part with rows and columns exchanged.
  package let isTransposed: Bool

  package init(_ start: UnsafePointer<Float>, stride: Int, isTransposed: Bool = false) {
    self.start = start
    self.stride = stride
    self.isTransposed = isTransposed
  }
}

/// `c = a · b`, or `c += a · b`, in single precision (BLAS `sgemm`), all row-major.
///
/// - Parameters:
///   - rows: of `a`, as it takes part, and of `c`.
///   - columns: of `b`, as it takes part, and of `c`.
///   - inner: columns of `a` and rows of `b`, as they take part.
///   - isAdding: whether what `c` holds is kept and added to; otherwise it is not read.
/// - Precondition: the counts are not negative and fit 32 bits; `c` overlaps neither factor.
package func multiplySinglePrecision(
  rows: Int, columns: Int, inner: Int, _ a: SinglePrecisionOperand, _ b: SinglePrecisionOperand,
  to c: UnsafeMutablePointer<Float>, stride: Int, isAdding: Bool = false
) {
  guard rows > 0, columns > 0 else { return }
  cblas_sgemm(
    CblasRowMajor, a.isTransposed ? CblasTrans : CblasNoTrans,
    b.isTransposed ? CblasTrans : CblasNoTrans, blasint(rows), blasint(columns), blasint(inner), 1,
    a.start, blasint(a.stride), b.start, blasint(b.stride), isAdding ? 1 : 0, c, blasint(stride))
}
