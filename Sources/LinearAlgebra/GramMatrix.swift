import CLAPACKE

/// The product of a matrix with its own transpose over the smaller dimension, A·Aᵀ for a wide
/// matrix and Aᵀ·A for a tall one, in double precision.
///
/// Its eigenvalues are the squared singular values of A, with an absolute error below about
/// `√n · 2⁻⁵² · σ_max²`, where n is the longer side. The errors measured are smaller than this
/// estimate, by a factor of five in the worst spectra tried.
struct GramMatrix {
  /// Rows, and columns.
  let count: Int
  /// The longer side of A: how many products each element is the sum of.
  private let length: Int
  /// A is 2^exponent times what was multiplied.
  private let exponent: Int
  /// The upper triangle of a row-major square, which is the lower one of LAPACK's columns; the other
  /// is zero.
  private let values: [Double]

  /// BLAS's `dsyrk`.
  ///
  /// - Parameter largest: the largest absolute element of `matrix`, finite and not zero.
  /// - Complexity: O(rows · columns · count).
  init(of matrix: Matrix, largest: Double) {
    let isWide = matrix.rows <= matrix.columns
    let count = min(matrix.rows, matrix.columns)
    let length = max(matrix.rows, matrix.columns)
    // A power of two brings the elements near 1, so that no square overflows or loses digits. Only
    // matrices far outside the range of Float need it.
    exponent = abs(largest.exponent) > 100 ? Int(largest.exponent) : 0
    var factor = matrix.values
    if exponent != 0 {
      for index in factor.indices {
        factor[index] = Double(sign: .plus, exponent: -exponent, significand: factor[index])
      }
    }
    var product = [Double](repeating: 0, count: count * count)
    BLASThreads.perform {
      cblas_dsyrk(
        CblasRowMajor, CblasUpper, isWide ? CblasNoTrans : CblasTrans, Int32(count), Int32(length),
        1, factor, Int32(matrix.columns), 0, &product, Int32(count))
    }
    self.count = count
    self.length = length
    values = product
  }

  /// Matrices of so many rows are reduced in two stages.
  private static let leastTwoStageCount = 2048

  /// All eigenvalues, smallest first.
  func eigenvalues() throws -> [Double] {
    try eigenvalues(inTwoStages: count >= Self.leastTwoStageCount)
  }

  /// LAPACK's `dsyevd` with `jobz = 'N'`, or `dsyevd_2stage`, which reduces the matrix to a band
  /// before it reduces the band to three diagonals. Most of that is products of matrices instead of
  /// products with vectors, which wait for memory: half the time for 4096 rows, as much for 2048.
  func eigenvalues(inTwoStages: Bool) throws -> [Double] {
    let solve = inTwoStages ? LAPACKE_dsyevd_2stage : LAPACKE_dsyevd
    var matrix = values
    var eigenvalues = [Double](repeating: 0, count: count)
    let info = BLASThreads.perform {
      solve(
        LAPACK_COL_MAJOR, CChar(UInt8(ascii: "N")), CChar(UInt8(ascii: "L")), Int32(count), &matrix,
        Int32(count), &eigenvalues)
    }
    try LAPACKError.check(info, routine: inTwoStages ? "dsyevd_2stage" : "dsyevd")
    return eigenvalues
  }

  /// The singular value of A that belongs to an eigenvalue.
  func singularValue(ofEigenvalue eigenvalue: Double) -> Double {
    Double(sign: .plus, exponent: exponent, significand: eigenvalue.squareRoot())
  }

  /// The estimated relative error that the smallest singular value has from the product's rounding:
  /// `√n · 2⁻⁵² · (σ_max / σ_min)² / 2`.
  func relativeError(smallest: Double, greatest: Double) -> Double {
    Double(length).squareRoot() * .ulpOfOne * (greatest / smallest) / 2
  }

  /// The product with `vector`, which has `count` elements: BLAS's `dsymv`.
  func apply(_ vector: [Double]) -> [Double] {
    var product = [Double](repeating: 0, count: count)
    cblas_dsymv(
      CblasRowMajor, CblasUpper, Int32(count), 1, values, Int32(count), vector, 1, 0, &product, 1)
    return product
  }

  /// R with `sign · (G − shift · 1) = Rᵀ · R`, in the upper triangle of a row-major square: LAPACK's
  /// `dpotrf`.
  ///
  /// By Sylvester's law of inertia there is such a factor exactly when all eigenvalues are above the
  /// shift, or below it for the sign −1; nearer to it than the rounding of the product, it is open.
  ///
  /// - Returns: `nil` when there is none.
  func factor(shift: Double = 0, sign: Double = 1) -> [Double]? {
    var factor = values
    if sign != 1 {
      for index in factor.indices { factor[index] *= sign }
    }
    for index in 0..<count { factor[index * count + index] -= sign * shift }
    let info = BLASThreads.perform {
      LAPACKE_dpotrf(
        LAPACK_COL_MAJOR, CChar(UInt8(ascii: "L")), Int32(count), &factor, Int32(count))
    }
    return info == 0 ? factor : nil
  }
}
