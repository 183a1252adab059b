import CLAPACKE

/// Replaces the upper triangle of a symmetric matrix A by the R with `A = Rᵀ · R`, if A is positive
/// definite. What lies below the diagonal is neither read nor written.
///
/// LAPACK's `dpotrf` factors blocks on the diagonal; the products that make up nearly all of the work
/// are those of `addSymmetricProducts`. Rows that share such a product are factored in smaller
/// blocks.
///
/// - Parameters:
///   - elements: The `count · count` elements, row by row.
///   - count: The number of rows, at least 1.
/// - Returns: Whether A is positive definite. If not, the triangle holds intermediate results.
func factorUpperTriangle(_ elements: UnsafeMutableBufferPointer<Double>, count: Int) -> Bool {
  guard let start = elements.baseAddress else { return true }
  let (outerBlock, innerBlock) = (256, 64)
  let threads = BLASThreads.count
  return BLASThreads.runningSingleThreaded {
    for outer in stride(from: 0, to: count, by: outerBlock) {
      let outerEnd = min(count, outer + outerBlock)
      for inner in stride(from: outer, to: outerEnd, by: innerBlock) {
        let end = min(outerEnd, inner + innerBlock)
        guard factorRows(inner..<end, of: start, count: count, threads: threads) else {
          return false
        }
        subtractProducts(
          ofRows: inner..<end, fromRows: end..<outerEnd, of: start, count: count, threads: threads)
      }
      subtractProducts(
        ofRows: outer..<outerEnd, fromRows: outerEnd..<count, of: start, count: count,
        threads: threads)
    }
    return true
  }
}

/// Computes `rows` of R from those of A, from which the products of all rows above are subtracted.
private func factorRows(
  _ rows: Range<Int>, of start: UnsafeMutablePointer<Double>, count: Int, threads: Int
) -> Bool {
  let (height, order) = (Int32(rows.count), Int32(count))
  let diagonal = start + rows.lowerBound * (count + 1)
  // The upper triangle in row-major order is the lower one in LAPACK's column-major order.
  let info = OpenBLAS.calls.LAPACKE_dpotrf(
    LAPACK_COL_MAJOR, CChar(UInt8(ascii: "L")), height, diagonal, order)
  guard info == 0 else { return false }
  let columnBlock = 256
  let rest = count - rows.upperBound
  parallelForEach(count: (rest + columnBlock - 1) / columnBlock, threads: threads) { index in
    let first = index * columnBlock
    OpenBLAS.calls.cblas_dtrsm(
      CblasRowMajor, CblasLeft, CblasUpper, CblasTrans, CblasNonUnit, height,
      Int32(min(columnBlock, rest - first)), 1, diagonal, order,
      diagonal + rows.count + first, order)
  }
  return true
}

/// Subtracts the products of columns of `rows`, which are R's, from the `remaining` rows just below
/// them.
private func subtractProducts(
  ofRows rows: Range<Int>, fromRows remaining: Range<Int>,
  of start: UnsafeMutablePointer<Double>, count: Int, threads: Int
) {
  guard !remaining.isEmpty else { return }
  let first = remaining.lowerBound
  let vectors = SymmetricProductOperand(
    start + rows.lowerBound * count + first, stride: count, count: count - first,
    length: rows.count)
  addSymmetricProducts(
    of: vectors, times: -1, rowCount: remaining.count, to: start + first * (count + 1),
    stride: count, threads: threads)
}
