import CLAPACKE

/// The product of a matrix A with its own transpose in double precision, A·Aᵀ for a wide matrix and
/// Aᵀ·A for a tall one.
///
/// Its eigenvalues are the squared singular values of A, with an absolute error below about
/// `√n · 2⁻⁵² · σ_max²`, where n is the longer side. Measured errors are below this estimate, by a
/// factor of five for the worst spectra tried.
struct GramMatrix {
  /// The number of rows and columns.
  let count: Int
  /// The longer side of A, which is the number of products summed in each element.
  private let length: Int
  /// The scaling: A is 2^exponent times the matrix that was multiplied.
  private let exponent: Int
  /// The upper triangle in row-major order, which is the lower one in LAPACK's column-major order.
  /// The other triangle is zero.
  private let values: [Double]

  /// Multiplies `matrix` by its transpose.
  ///
  /// - Parameter largest: The largest absolute element of `matrix`, finite and not zero.
  /// - Complexity: O(rows · columns · count).
  init(of matrix: Matrix, largest: Double) {
    let isWide = matrix.rows <= matrix.columns
    let count = min(matrix.rows, matrix.columns)
    let length = max(matrix.rows, matrix.columns)
    // A power of two scales the elements to about 1, so that no square overflows or loses digits.
    // Only matrices far outside the range of Float need it.
    exponent = abs(largest.exponent) > 100 ? Int(largest.exponent) : 0
    var factor = matrix.values
    if exponent != 0 {
      for index in factor.indices {
        factor[index] = Double(sign: .plus, exponent: -exponent, significand: factor[index])
      }
    }
    var product = [Double](repeating: 0, count: count * count)
    factor.withUnsafeBufferPointer { factor in
      product.withUnsafeMutableBufferPointer { product in
        guard let start = factor.baseAddress, let sum = product.baseAddress else { return }
        let vectors = SymmetricProductOperand(
          start, stride: matrix.columns, count: count, length: length, isWide: isWide)
        addSymmetricProducts(of: vectors, to: sum, stride: count, threads: BLASThreads.count)
      }
    }
    self.count = count
    self.length = length
    values = product
  }

  /// The smallest number of rows that is reduced in two stages.
  private static let leastTwoStageCount = 512

  /// Returns all eigenvalues, smallest first.
  func eigenvalues() throws -> [Double] {
    try eigenvalues(inTwoStages: count >= Self.leastTwoStageCount)
  }

  /// Computes the eigenvalues by LAPACK's `dsyevd` with `jobz = 'N'`, or by a reduction to band form
  /// before tridiagonal form. Two stages replace most memory-bound matrix-vector products by matrix
  /// products.
  func eigenvalues(inTwoStages: Bool) throws -> [Double] {
    var matrix = values
    guard !inTwoStages else { return try eigenvaluesInTwoStages(&matrix, count: count) }
    var eigenvalues = [Double](repeating: 0, count: count)
    let info = BLASThreads.perform {
      OpenBLAS.calls.LAPACKE_dsyevd(
        LAPACK_COL_MAJOR, CChar(UInt8(ascii: "N")), CChar(UInt8(ascii: "L")), Int32(count), &matrix,
        Int32(count), &eigenvalues)
    }
    try LAPACKError.check(info, routine: "dsyevd")
    return eigenvalues
  }

  /// Returns the singular value of A for an eigenvalue.
  func singularValue(ofEigenvalue eigenvalue: Double) -> Double {
    Double(sign: .plus, exponent: exponent, significand: eigenvalue.squareRoot())
  }

  /// Returns the estimated relative error of the smallest singular value due to the product's
  /// rounding: `√n · 2⁻⁵² · (σ_max / σ_min)² / 2`.
  func relativeError(smallest: Double, greatest: Double) -> Double {
    Double(length).squareRoot() * .ulpOfOne * (greatest / smallest) / 2
  }

  /// Returns the product with `vector`, which has `count` elements, by BLAS's `dsymv`.
  func apply(_ vector: [Double]) -> [Double] {
    var product = [Double](repeating: 0, count: count)
    OpenBLAS.calls.cblas_dsymv(
      CblasRowMajor, CblasUpper, Int32(count), 1, values, Int32(count), vector, 1, 0, &product, 1)
    return product
  }

  /// Replaces `factor` by the R with `sign · (G − shift · 1) = Rᵀ · R`, in the upper triangle in
  /// row-major order, if it exists.
  ///
  /// By Sylvester's law of inertia the factor exists exactly if all eigenvalues are above the
  /// shift, or below it for the sign −1. For eigenvalues closer to the shift than the product's
  /// rounding error the result is undetermined.
  ///
  /// - Parameter factor: Empty, or an array that an earlier call filled, whose memory is used again.
  /// - Returns: Whether the factor exists.
  func factor(shift: Double = 0, sign: Double = 1, into factor: inout [Double]) -> Bool {
    if factor.isEmpty {
      factor = values
    } else {
      precondition(factor.count == values.count, "a factor of another matrix")
      factor.withUnsafeMutableBufferPointer { _ = $0.update(from: values) }
    }
    return factor.withUnsafeMutableBufferPointer { elements in
      if sign != 1 {
        for index in elements.indices { elements[index] *= sign }
      }
      for index in 0..<count { elements[index * count + index] -= sign * shift }
      return factorUpperTriangle(elements, count: count)
    }
  }
}
