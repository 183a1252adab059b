import CLAPACKE

/// The singular values of a matrix, without its singular vectors.
///
/// There are `min(rows, columns)` of them. Zero, constant and rank-deficient matrices and single
/// rows or columns are ordinary cases; an empty matrix has no singular values.
///
/// BLAS's own threads are used on a lone matrix, and none where matrices are spread over threads.
public struct SingularValues: Hashable, Sendable {
  /// How the values are computed.
  public enum Method: Sendable, CaseIterable {
    /// The Gram matrix where that gives every value to a relative 1e-4, as its own result tells,
    /// and the decomposition of the matrix otherwise. The limit is reached at condition numbers
    /// from 100,000 (4,096 rows or columns) to 300,000 (100).
    case automatic
    /// LAPACK's `dgesdd` (divide and conquer) on the matrix itself: every value to about
    /// `2⁻⁵² · σ_max`.
    case decomposition
  }

  /// The values, largest first, none of them negative.
  public let values: [Double]

  /// Computes all singular values of `matrix`.
  ///
  /// - Throws: `LAPACKError` when an element is NaN or infinite, when the iteration does not
  ///   converge, or when a dimension is beyond 32 bits.
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

  /// The largest absolute element; all elements are checked to be finite, and dimensions to fit 32
  /// bits.
  static func largestMagnitude(in matrix: Matrix) throws -> Double {
    guard matrix.rows <= Int(Int32.max), matrix.columns <= Int(Int32.max) else {
      throw LAPACKError.tooLarge(rows: matrix.rows, columns: matrix.columns)
    }
    return try matrix.values.withUnsafeBufferPointer { elements in
      var largest = 0.0
      for index in elements.indices {
        let magnitude = elements[index].magnitude
        guard magnitude.isFinite else {
          throw LAPACKError.nonFiniteElement(
            row: index / matrix.columns, column: index % matrix.columns,
            value: "\(elements[index])")
        }
        largest = max(largest, magnitude)
      }
      return largest
    }
  }

  /// LAPACK's `dgesdd` with `jobz = 'N'`.
  ///
  /// LAPACK is faster on matrices that are taller than wide. Its matrices are column-major, so a
  /// wide row-major matrix is a tall one there as it stands, and a tall one is transposed first.
  private static func decomposed(_ matrix: Matrix) throws -> [Double] {
    let isWide = matrix.rows <= matrix.columns
    let count = Int32(min(matrix.rows, matrix.columns))
    let length = Int32(max(matrix.rows, matrix.columns))
    var elements = isWide ? matrix.values : matrix.transposed.values
    var values = [Double](repeating: 0, count: Int(count))
    let info = BLASThreads.perform {
      LAPACKE_dgesdd(
        LAPACK_COL_MAJOR, CChar(UInt8(ascii: "N")), length, count, &elements, length, &values,
        nil, 1, nil, 1)
    }
    try LAPACKError.check(info, routine: "dgesdd")
    return values
  }
}

extension SingularValues {
  /// The estimated relative error up to which values from the Gram matrix are accepted.
  ///
  /// The smallest value has the largest one, `√n · 2⁻⁵² · (σ_max / σ_min)² / 2`, where n is the longer
  /// side. It is accepted up to condition numbers between 100,000 (n = 4096) and 300,000 (n = 100).
  /// Beyond, and for singular matrices, the matrix itself is decomposed.
  static let gramErrorLimit = 1e-4

  /// Below this many values the decomposition of the matrix itself takes no noticeable time.
  private static let smallestGram = 64

  /// Singular values as square roots of the eigenvalues of the smaller Gram matrix, three to five
  /// times as fast as `dgesdd`.
  ///
  /// - Parameter largest: the largest absolute element, not zero.
  /// - Returns: `nil` when they would not be accurate enough.
  static func fromGram(of matrix: Matrix, largest: Double) throws -> [Double]? {
    guard min(matrix.rows, matrix.columns) > smallestGram else { return nil }
    return try values(of: GramMatrix(of: matrix, largest: largest))
  }

  /// The singular values that belong to the eigenvalues of `gram`, largest first; `nil` when they
  /// would not be accurate enough.
  static func values(of gram: GramMatrix) throws -> [Double]? {
    let eigenvalues = try gram.eigenvalues()
    guard let smallest = eigenvalues.first, let greatest = eigenvalues.last, smallest > 0,
      gram.relativeError(smallest: smallest, greatest: greatest) <= gramErrorLimit
    else { return nil }
    return eigenvalues.reversed().map(gram.singularValue)
  }
}
