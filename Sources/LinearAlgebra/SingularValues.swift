import CLAPACKE

/// The singular values of a matrix, without its singular vectors.
///
/// There are `min(rows, columns)` of them. Zero, constant and rank-deficient matrices and single
/// rows or columns are ordinary cases; an empty matrix has no singular values.
///
/// A single matrix is decomposed with BLAS's own threads; inside `parallelMap`, BLAS runs on one
/// thread.
///
/// ```swift
/// let matrix = Matrix(rows: 2, columns: 2, values: [3, 0, 0, -2])
/// print(try SingularValues(of: matrix).values)  // 3 and 2, up to rounding
/// ```
public struct SingularValues: Hashable, Sendable {
  /// The algorithm that computes the values.
  public enum Method: Sendable, CaseIterable {
    /// The Gram matrix if its error estimate guarantees every value to a relative 1e-4, otherwise
    /// the decomposition of the matrix. The limit is reached at condition numbers from 100,000
    /// (4,096 rows or columns) to 300,000 (100).
    case automatic
    /// LAPACK's `dgesdd` (divide and conquer) on the matrix itself, which gives every value with an
    /// absolute error of about `2⁻⁵² · σ_max`.
    case decomposition
  }

  /// The singular values, which are not negative, largest first.
  public let values: [Double]

  /// Computes all singular values of `matrix`.
  ///
  /// - Throws: `LAPACKError` if an element is NaN or infinite, if the iteration does not converge,
  ///   or if a dimension exceeds 32 bits.
  /// - Complexity: O(rows · columns · min(rows, columns)), and the memory of one more matrix.
  public init(of matrix: Matrix, method: Method = .automatic) throws {
    let largest = try Self.largestMagnitude(in: matrix)
    guard largest > 0 else {
      values = [Double](repeating: 0, count: min(matrix.rows, matrix.columns))
      return
    }
    if method == .automatic, let values = try Self.fromGram(of: matrix, largest: largest) {
      self.values = values
    } else {
      values = try Self.decomposed(matrix)
    }
  }

  /// Returns the largest absolute element, after checking that all elements are finite and that the
  /// dimensions fit in 32 bits.
  static func largestMagnitude(in matrix: Matrix) throws -> Double {
    guard matrix.rows <= Int(Int32.max), matrix.columns <= Int(Int32.max) else {
      throw LAPACKError.tooLarge(rows: matrix.rows, columns: matrix.columns)
    }
    if let range = matrix.values.withUnsafeBufferPointer({ FiniteRange(of: $0) }) {
      return range.magnitude
    }
    try LAPACKError.check(matrix)
    return 0
  }

  /// Computes the singular values by LAPACK's `dgesdd` with `jobz = 'N'`.
  ///
  /// LAPACK is faster on matrices that are taller than wide. Its matrices are column-major, so it
  /// sees a wide row-major matrix as a tall one; a tall matrix is transposed first.
  private static func decomposed(_ matrix: Matrix) throws -> [Double] {
    let isWide = matrix.rows <= matrix.columns
    let count = Int32(min(matrix.rows, matrix.columns))
    let length = Int32(max(matrix.rows, matrix.columns))
    var elements = isWide ? matrix.values : matrix.transposed.values
    var values = [Double](repeating: 0, count: Int(count))
    let info = BLASThreads.perform {
      OpenBLAS.calls.LAPACKE_dgesdd(
        LAPACK_COL_MAJOR, CChar(UInt8(ascii: "N")), length, count, &elements, length, &values,
        nil, 1, nil, 1)
    }
    try LAPACKError.check(info, routine: "dgesdd")
    return values
  }
}

extension SingularValues {
  /// The largest estimated relative error at which values from the Gram matrix are accepted.
  ///
  /// The smallest value has the largest relative error, `√n · 2⁻⁵² · (σ_max / σ_min)² / 2`, where n
  /// is the longer side. The limit is reached at condition numbers between 100,000 (n = 4096) and
  /// 300,000 (n = 100). Beyond it, and for singular matrices, the matrix itself is decomposed.
  static let gramErrorLimit = 1e-4

  /// Up to this many values, decomposing the matrix itself takes negligible time.
  private static let smallestGram = 64

  /// Computes singular values as square roots of the eigenvalues of the smaller Gram matrix, three
  /// to five times as fast as `dgesdd`.
  ///
  /// - Parameter largest: The largest absolute element, not zero.
  /// - Returns: `nil` if they would not be accurate enough.
  static func fromGram(of matrix: Matrix, largest: Double) throws -> [Double]? {
    guard min(matrix.rows, matrix.columns) > smallestGram else { return nil }
    return try values(of: GramMatrix(of: matrix, largest: largest))
  }

  /// Returns the singular values for the eigenvalues of `gram`, largest first, or `nil` if they
  /// would not be accurate enough.
  static func values(of gram: GramMatrix) throws -> [Double]? {
    let eigenvalues = try gram.eigenvalues()
    guard let smallest = eigenvalues.first, let greatest = eigenvalues.last, smallest > 0,
      gram.relativeError(smallest: smallest, greatest: greatest) <= gramErrorLimit
    else { return nil }
    return eigenvalues.reversed().map(gram.singularValue)
  }
}
