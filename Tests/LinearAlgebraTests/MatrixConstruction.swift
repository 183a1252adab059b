import Imaging
import LinearAlgebra

/// A small seeded generator (SplitMix64), which makes tests the same in every run.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var value = state
    value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
    value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
    return value ^ (value >> 31)
  }
}

extension Matrix {
  /// Returns the pattern of the NumPy goldens: `((37i + 101j + 13ij) mod 97) / 97 − ½`.
  static func pattern(rows: Int, columns: Int) -> Matrix {
    filled(rows, columns) { i, j in Double((i * 37 + j * 101 + i * j * 13) % 97) / 97 - 0.5 }
  }

  static func filled(_ rows: Int, _ columns: Int, _ element: (Int, Int) -> Double) -> Matrix {
    Matrix(
      rows: rows, columns: columns,
      values: (0..<rows * columns).map { element($0 / columns, $0 % columns) })
  }

  /// Returns U · diag(`values`) · Vᵀ with seeded orthogonal U and V, products of Householder
  /// reflections.
  static func withSingularValues(
    _ values: [Double], rows: Int, columns: Int, seed: UInt64
  ) -> Matrix {
    var generator = SeededGenerator(seed: seed)
    var matrix = filled(rows, columns) { $0 == $1 ? values[$0] : 0 }
    for _ in 0..<3 {
      matrix.reflectColumns(&generator)
      matrix = matrix.transposed
      matrix.reflectColumns(&generator)
      matrix = matrix.transposed
    }
    return matrix
  }

  /// Replaces A by (I − 2vvᵀ) A for a random unit vector v.
  private mutating func reflectColumns(_ generator: inout SeededGenerator) {
    var vector = (0..<rows).map { _ in Double.random(in: -1...1, using: &generator) }
    let norm = vector.reduce(0) { $0 + $1 * $1 }.squareRoot()
    vector = vector.map { $0 / norm }
    var products = [Double](repeating: 0, count: columns)
    for row in 0..<rows {
      for column in 0..<columns { products[column] += vector[row] * self[row, column] }
    }
    for row in 0..<rows {
      for column in 0..<columns { self[row, column] -= 2 * vector[row] * products[column] }
    }
  }
}

/// Returns the largest |computed − expected| / expected over expected values above `floor · σ_max`.
func largestRelativeError(_ computed: [Double], _ expected: [Double], floor: Double) -> Double {
  zip(computed, expected).filter { $1 >= floor * expected[0] }
    .map { abs($0 - $1) / $1 }.max() ?? 0
}
