import CLAPACKE

/// Orthonormal vectors, one after the other: the basis that the Lanczos iteration grows.
struct VectorBasis {
  /// Elements of a vector.
  let dimension: Int
  private(set) var count = 0
  private var values: [Double] = []

  init(dimension: Int) {
    self.dimension = dimension
  }

  /// Adds `vector` as it is.
  mutating func append(_ vector: [Double]) {
    precondition(vector.count == dimension, "a vector of the basis's dimension")
    values += vector
    count += 1
  }

  /// The scalar products of the vectors with `vector`.
  func products(with vector: [Double]) -> [Double] {
    guard count > 0 else { return [] }
    var products = [Double](repeating: 0, count: count)
    cblas_dgemv(
      CblasRowMajor, CblasNoTrans, Int32(count), Int32(dimension), 1, values, Int32(dimension),
      vector, 1, 0, &products, 1)
    return products
  }

  /// Σ weights[i] · vector i.
  func combination(_ weights: [Double]) -> [Double] {
    var sum = [Double](repeating: 0, count: dimension)
    guard count > 0 else { return sum }
    cblas_dgemv(
      CblasRowMajor, CblasTrans, Int32(count), Int32(dimension), 1, values, Int32(dimension),
      weights, 1, 0, &sum, 1)
    return sum
  }

  /// Takes from `vector` what lies in the basis: Gram–Schmidt, twice, which is enough for
  /// orthogonality to rounding.
  ///
  /// Source: Giraud, Langou and Rozložník, "On the round-off error analysis of the Gram–Schmidt
  /// algorithm with reorthogonalization", 2005.
  func orthogonalize(_ vector: inout [Double]) {
    for _ in 0..<2 {
      let projection = combination(products(with: vector))
      cblas_daxpy(Int32(dimension), -1, projection, 1, &vector, 1)
    }
  }

  /// The Euclidean norm.
  static func norm(_ vector: [Double]) -> Double {
    cblas_dnrm2(Int32(vector.count), vector, 1)
  }

  /// `vector` to length one.
  static func normalize(_ vector: inout [Double]) {
    let norm = norm(vector)
    guard norm > 0 else { return }
    cblas_dscal(Int32(vector.count), 1 / norm, &vector, 1)
  }
}
