import CLAPACKE

/// Davidson's iteration for the smallest eigenvalue of a symmetric positive operator.
///
/// It grows a subspace by preconditioned residuals and takes the smallest Ritz pair of the operator
/// on it. With an approximate inverse as preconditioner it is a refinement: each step multiplies the
/// error by about the relative error of the inverse. Source: Crouzeix, Philippe and Sadkane, "The
/// Davidson method", SIAM Journal on Scientific Computing 15, 1994.
enum Davidson {
  /// The smallest eigenvalue, from above.
  ///
  /// - Parameters:
  ///   - start: a vector with a part in the wanted direction.
  ///   - tolerance: accepts when the residual is at most so many times the Ritz value; an eigenvalue
  ///     is then as near (Weinstein's bound).
  /// - Returns: `nil` when `maximumSteps` were not enough.
  static func smallest(
    from start: [Double], tolerance: Double, maximumSteps: Int, apply: ([Double]) -> [Double],
    precondition: ([Double]) -> [Double]
  ) throws -> Double? {
    var basis = VectorBasis(dimension: start.count)
    var images = VectorBasis(dimension: start.count)
    // The operator on the basis, a symmetric matrix that grows by a row a step.
    var projected: [[Double]] = []
    var direction = start
    for _ in 0..<min(maximumSteps, start.count) {
      basis.orthogonalize(&direction)
      guard VectorBasis.norm(direction) > 0 else { return nil }
      VectorBasis.normalize(&direction)
      let image = apply(direction)
      basis.append(direction)
      images.append(image)
      projected.append(basis.products(with: image))

      let (value, weights) = try smallestRitzPair(projected)
      var residual = images.combination(weights)
      let vector = basis.combination(weights)
      cblas_daxpy(Int32(residual.count), -value, vector, 1, &residual, 1)
      guard value > 0 else { return nil }
      if VectorBasis.norm(residual) <= tolerance * value { return value }
      direction = precondition(residual)
      VectorBasis.normalize(&direction)
    }
    return nil
  }

  /// LAPACK's `dsyev` on the lower triangle, row by row.
  private static func smallestRitzPair(
    _ rows: [[Double]]
  ) throws -> (value: Double, weights: [Double]) {
    let count = rows.count
    var matrix = [Double](repeating: 0, count: count * count)
    for (row, elements) in rows.enumerated() {
      for (column, element) in elements.enumerated() { matrix[row * count + column] = element }
    }
    var values = [Double](repeating: 0, count: count)
    // Rows of the lower triangle are columns of the upper one.
    let info = LAPACKE_dsyev(
      LAPACK_COL_MAJOR, CChar(UInt8(ascii: "V")), CChar(UInt8(ascii: "U")), Int32(count), &matrix,
      Int32(count), &values)
    try LAPACKError.check(info, routine: "dsyev")
    return (values[0], Array(matrix[..<count]))
  }
}
