import CLAPACKE

/// The largest and the smallest singular value of a matrix, without the values between them.
///
/// They are computed from the Gram matrix in double precision. Below 512 values, all eigenvalues
/// take little longer than two. For larger matrices, the Lanczos iteration finds σ_max², and the
/// same iteration with the inverse, through a Cholesky factor, finds σ_min². Cholesky factors of
/// the Gram matrix shifted by either value then prove that no eigenvalue lies outside the two. If
/// one of these factors does not exist, all eigenvalues are computed; if the condition number is
/// too large for the Gram matrix, beyond about 50,000 to 100,000, the method is that of
/// `SingularValues`.
///
/// The result depends only on the elements and on the number of BLAS's threads, which affects its
/// last digits: the start vectors are fixed.
package struct ExtremeSingularValues: Hashable, Sendable {
  /// The largest singular value, σ_max.
  package let largest: Double
  /// The smallest of the `min(rows, columns)` singular values, σ_min.
  package let smallest: Double

  /// A bound on the relative error of both values, for condition numbers up to a million.
  package static let relativeError = 1e-4

  /// Below this many values, computing all of them takes no longer.
  private static let smallestIterated = 512

  /// The relative distance by which an eigenvalue may lie outside the found range. The error of the
  /// singular value is half of it.
  private static let slack = relativeError

  /// The part of the error reserved for the rounding of the Gram matrix.
  private static let roundingLimit = relativeError / 5

  /// Computes the largest and the smallest singular value of `matrix`.
  ///
  /// - Precondition: The matrix is not empty.
  /// - Throws: `LAPACKError`, in particular for NaN and infinite elements.
  /// - Complexity: O(rows · columns · min(rows, columns)).
  package init(of matrix: Matrix) throws {
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

  /// Computes both values from `gram` and proves them.
  ///
  /// - Returns: `nil` if the values could not be proved to be the extreme ones, to `relativeError`.
  static func proven(_ gram: GramMatrix) throws -> ExtremeSingularValues? {
    var factor: [Double] = []
    guard gram.factor(into: &factor) else { return nil }
    let count = Int32(gram.count)
    let greatest = try Lanczos.largestEigenvalue(count: gram.count, apply: gram.apply)
    let inverse = try Lanczos.largestEigenvalue(count: gram.count) { vector in
      var solution = vector
      for transposition in [CblasTrans, CblasNoTrans] {
        OpenBLAS.calls.cblas_dtrsv(
          CblasRowMajor, CblasUpper, transposition, CblasNonUnit, count, factor, count, &solution, 1
        )
      }
      return solution
    }
    let least = 1 / inverse
    guard least > 0, least <= greatest,
      gram.relativeError(smallest: least, greatest: greatest) <= roundingLimit,
      gram.factor(shift: least * (1 - slack), into: &factor),
      gram.factor(shift: greatest * (1 + slack), sign: -1, into: &factor)
    else { return nil }
    return ExtremeSingularValues(
      largest: gram.singularValue(ofEigenvalue: greatest),
      smallest: gram.singularValue(ofEigenvalue: least))
  }

  private init(largest: Double, smallest: Double) {
    self.largest = largest
    self.smallest = smallest
  }

  /// Takes both ends of a complete spectrum.
  ///
  /// - Parameter values: All singular values, largest first.
  /// - Precondition: `values` is not empty.
  package init(of values: [Double]) {
    precondition(!values.isEmpty, "no singular values have no ends")
    self.init(largest: values[0], smallest: values[values.count - 1])
  }
}

/// The Lanczos iteration with full reorthogonalization, for the largest eigenvalue of a symmetric
/// positive operator.
///
/// Source: Golub and Van Loan, "Matrix Computations", 4th edition, section 10.1. The start is a
/// fixed pseudo-random vector, so that results are reproducible; it is orthogonal to the wanted
/// direction with probability zero.
enum Lanczos {
  /// The number of steps between convergence checks.
  private static let stride = 4

  /// The relative residual, as a multiple of the Ritz value, at which the iteration ends. The error
  /// of the value itself is of the order of the square.
  private static let tolerance = 5e-4

  /// The number of steps after which the iteration ends in any case, with the current value.
  private static let maximumSteps = 128

  /// Returns the largest Ritz value, which does not exceed the largest eigenvalue except by
  /// rounding.
  ///
  /// - Parameter count: The operator's dimension, at least 1.
  static func largestEigenvalue(
    count: Int, apply: ([Double]) -> [Double]
  ) throws -> Double {
    var basis = VectorBasis(dimension: count)
    var diagonal: [Double] = []
    var offDiagonal: [Double] = []
    var vector = start(count: count)
    let steps = min(maximumSteps, count)
    for step in 1...steps {
      basis.append(vector)
      var next = apply(vector)
      diagonal.append(OpenBLAS.calls.cblas_ddot(Int32(count), vector, 1, next, 1))
      basis.orthogonalize(&next)
      let norm = VectorBasis.norm(next)
      let isExhausted = norm <= Double.ulpOfOne * diagonal[0].magnitude
      if step.isMultiple(of: stride) || step == steps || isExhausted {
        let (value, weight) = try largestRitzPair(diagonal, offDiagonal)
        let residual = norm * weight.magnitude
        if residual <= tolerance * value.magnitude || step == steps || isExhausted { return value }
      }
      offDiagonal.append(norm)
      vector = next
      VectorBasis.normalize(&vector)
    }
    return diagonal[0]
  }

  /// Returns the largest eigenvalue of the tridiagonal matrix and the last element of its
  /// eigenvector, by LAPACK's `dstevd`.
  private static func largestRitzPair(
    _ diagonal: [Double], _ offDiagonal: [Double]
  ) throws -> (value: Double, lastWeight: Double) {
    let count = diagonal.count
    var values = diagonal
    var rest = offDiagonal + [0]
    var vectors = [Double](repeating: 0, count: count * count)
    let info = OpenBLAS.calls.LAPACKE_dstevd(
      LAPACK_COL_MAJOR, CChar(UInt8(ascii: "V")), Int32(count), &values, &rest, &vectors,
      Int32(count))
    try LAPACKError.check(info, routine: "dstevd")
    return (values[count - 1], vectors[count * count - 1])
  }

  /// Returns a unit vector of numbers from a SplitMix64 sequence.
  private static func start(count: Int) -> [Double] {
    var state: UInt64 = 0x636f_6e64_6974_696f
    var vector = (0..<count).map { _ in
      state &+= 0x9e37_79b9_7f4a_7c15
      var bits = state
      bits = (bits ^ (bits >> 30)) &* 0xbf58_476d_1ce4_e5b9
      bits = (bits ^ (bits >> 27)) &* 0x94d0_49bb_1331_11eb
      return Double(Int64(bitPattern: bits ^ (bits >> 31))) / 0x1p63
    }
    VectorBasis.normalize(&vector)
    return vector
  }
}

/// A growing sequence of orthonormal vectors, the basis of the Lanczos iteration.
struct VectorBasis {
  /// The number of elements of each vector.
  let dimension: Int
  private(set) var count = 0
  private var values: [Double] = []

  init(dimension: Int) {
    self.dimension = dimension
  }

  /// Appends `vector` unchanged.
  mutating func append(_ vector: [Double]) {
    precondition(vector.count == dimension, "a vector of the basis's dimension")
    values += vector
    count += 1
  }

  /// Returns the scalar products of the basis vectors with `vector`.
  func products(with vector: [Double]) -> [Double] {
    guard count > 0 else { return [] }
    var products = [Double](repeating: 0, count: count)
    OpenBLAS.calls.cblas_dgemv(
      CblasRowMajor, CblasNoTrans, Int32(count), Int32(dimension), 1, values, Int32(dimension),
      vector, 1, 0, &products, 1)
    return products
  }

  /// Returns Σ weights[i] · vector i.
  func combination(_ weights: [Double]) -> [Double] {
    var sum = [Double](repeating: 0, count: dimension)
    guard count > 0 else { return sum }
    OpenBLAS.calls.cblas_dgemv(
      CblasRowMajor, CblasTrans, Int32(count), Int32(dimension), 1, values, Int32(dimension),
      weights, 1, 0, &sum, 1)
    return sum
  }

  /// Removes the component of `vector` that lies in the basis, by Gram–Schmidt applied twice, which
  /// suffices for orthogonality to rounding.
  ///
  /// Source: Giraud, Langou and Rozložník, "On the round-off error analysis of the Gram–Schmidt
  /// algorithm with reorthogonalization", 2005.
  func orthogonalize(_ vector: inout [Double]) {
    for _ in 0..<2 {
      let projection = combination(products(with: vector))
      OpenBLAS.calls.cblas_daxpy(Int32(dimension), -1, projection, 1, &vector, 1)
    }
  }

  /// Returns the Euclidean norm.
  static func norm(_ vector: [Double]) -> Double {
    OpenBLAS.calls.cblas_dnrm2(Int32(vector.count), vector, 1)
  }

  /// Scales `vector` to unit length.
  static func normalize(_ vector: inout [Double]) {
    let norm = norm(vector)
    guard norm > 0 else { return }
    OpenBLAS.calls.cblas_dscal(Int32(vector.count), 1 / norm, &vector, 1)
  }
}
