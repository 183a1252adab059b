import CLAPACKE

/// The largest and the smallest singular value of a matrix, without those between.
///
/// They come from the Gram matrix in double precision. Below 512 values all its
/// eigenvalues take hardly longer than two. From there on σ_max² is found by the Lanczos iteration,
/// and σ_min² by the same with the inverse, through a Cholesky factor. That no eigenvalue lies
/// outside of the two is then proved by the Cholesky factors of the Gram matrix shifted by either.
/// Where one of them does not exist, all eigenvalues are computed; where the condition number is too
/// large for the Gram matrix, beyond about 50,000 to 100,000, as in `SingularValues`.
///
/// The result is a function of the elements and of the number of BLAS's threads, on which its last
/// digits depend: vectors start from fixed numbers.
public struct ExtremeSingularValues: Hashable, Sendable {
  /// The largest singular value, σ_max.
  public let largest: Double
  /// The smallest of the `min(rows, columns)` singular values, σ_min.
  public let smallest: Double

  /// A bound of the relative error of both values, for condition numbers up to a million.
  public static let relativeError = 1e-4

  /// Below this many values all of them take no longer.
  private static let smallestIterated = 512

  /// How far, relative to itself, an eigenvalue may lie outside of the one found: half of it is the
  /// error of the singular value.
  private static let slack = relativeError

  /// The part of the error left to the rounding of the Gram matrix.
  private static let roundingLimit = relativeError / 5

  /// Computes the largest and the smallest singular value of `matrix`.
  ///
  /// - Precondition: the matrix is not empty.
  /// - Throws: `LAPACKError`, in particular for NaN and infinite elements.
  /// - Complexity: O(rows · columns · min(rows, columns)).
  public init(of matrix: Matrix) throws {
    precondition(matrix.rows > 0 && matrix.columns > 0, "an empty matrix has no singular values")
    guard min(matrix.rows, matrix.columns) >= Self.smallestIterated else {
      self.init(of: try SingularValues(of: matrix).values)
      return
    }
    let largest = try SingularValues.largestMagnitude(in: matrix)
    guard largest > 0 else {
      self.init(largest: 0, smallest: 0)
      return
    }
    let gram = GramMatrix(of: matrix, largest: largest)
    if let proven = try Self.proven(gram) {
      self = proven
    } else if let values = try SingularValues.values(of: gram) {
      self.init(of: values)
    } else {
      self.init(of: try SingularValues(of: matrix, method: .decomposition).values)
    }
  }

  /// - Returns: `nil` when the values found could not be proved to be the extreme ones, to
  ///   `relativeError`.
  static func proven(_ gram: GramMatrix) throws -> ExtremeSingularValues? {
    guard let factor = gram.factor() else { return nil }
    let count = Int32(gram.count)
    let greatest = try Lanczos.largestEigenvalue(count: gram.count, apply: gram.apply)
    let inverse = try Lanczos.largestEigenvalue(count: gram.count) { vector in
      var solution = vector
      for transposition in [CblasTrans, CblasNoTrans] {
        cblas_dtrsv(
          CblasRowMajor, CblasUpper, transposition, CblasNonUnit, count, factor, count, &solution, 1
        )
      }
      return solution
    }
    let least = 1 / inverse
    guard least > 0, least <= greatest,
      gram.relativeError(smallest: least, greatest: greatest) <= roundingLimit,
      gram.factor(shift: least * (1 - slack)) != nil,
      gram.factor(shift: greatest * (1 + slack), sign: -1) != nil
    else { return nil }
    return ExtremeSingularValues(
      largest: gram.singularValue(ofEigenvalue: greatest),
      smallest: gram.singularValue(ofEigenvalue: least))
  }

  private init(largest: Double, smallest: Double) {
    self.largest = largest
    self.smallest = smallest
  }

  /// The ends of a whole spectrum.
  ///
  /// - Parameter values: largest first.
  /// - Precondition: there is at least one.
  package init(of values: [Double]) {
    precondition(!values.isEmpty, "no singular values have no ends")
    self.init(largest: values[0], smallest: values[values.count - 1])
  }
}
