import CLAPACKE

/// The Lanczos iteration with full reorthogonalization, for the largest eigenvalue of a symmetric
/// positive operator.
///
/// Source: Golub and Van Loan, "Matrix Computations", 4th edition, section 10.1. The start is a fixed
/// pseudo-random vector, so that results repeat; that it has no part in the wanted direction has
/// probability zero.
enum Lanczos {
  /// How many steps lie between two looks at the convergence.
  private static let stride = 4

  /// Residuals up to this many times the Ritz value end the iteration. The value's own error is of
  /// the order of the square.
  private static let tolerance = 5e-4

  /// The iteration ends there in any case, with what there is.
  private static let maximumSteps = 128

  /// The largest Ritz value, which is not above the largest eigenvalue, but for rounding.
  ///
  /// - Parameter count: the operator's dimension, at least 1.
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
      diagonal.append(cblas_ddot(Int32(count), vector, 1, next, 1))
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

  /// The largest eigenvalue of the tridiagonal matrix, and the last element of its eigenvector:
  /// LAPACK's `dstevd`.
  private static func largestRitzPair(
    _ diagonal: [Double], _ offDiagonal: [Double]
  ) throws -> (value: Double, lastWeight: Double) {
    let count = diagonal.count
    var values = diagonal
    var rest = offDiagonal + [0]
    var vectors = [Double](repeating: 0, count: count * count)
    let info = LAPACKE_dstevd(
      LAPACK_COL_MAJOR, CChar(UInt8(ascii: "V")), Int32(count), &values, &rest, &vectors,
      Int32(count))
    try LAPACKError.check(info, routine: "dstevd")
    return (values[count - 1], vectors[count * count - 1])
  }

  /// A unit vector of the numbers of a SplitMix64 sequence.
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
