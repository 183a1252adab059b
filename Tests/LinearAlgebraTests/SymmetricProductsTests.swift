import TestSupport
import Testing

@testable import LinearAlgebra

/// Symmetric products and factors, compared with plain loops over their definitions.
@Suite struct SymmetricProductsTests {
  /// Returns the upper triangle of `start + sign · Σ v vᵀ` over the steps of the vectors, which are
  /// the columns of `matrix`, or its rows.
  private func expected(
    _ matrix: Matrix, isWide: Bool, sign: Double, start: Matrix
  ) -> Matrix {
    let vectors = isWide ? matrix : matrix.transposed
    return Matrix.filled(vectors.rows, vectors.rows) { i, j in
      guard i <= j else { return start[i, j] }
      return (0..<vectors.columns).reduce(start[i, j]) {
        $0 + sign * vectors[i, $1] * vectors[j, $1]
      }
    }
  }

  private func product(
    _ matrix: Matrix, isWide: Bool, sign: Double, rowCount: Int?, start: Matrix, threads: Int
  ) -> Matrix {
    var sum = start
    matrix.values.withUnsafeBufferPointer { values in
      sum.withUnsafeMutableValues { sum in
        guard let values = values.baseAddress, let sum = sum.baseAddress else { return }
        let vectors = SymmetricProductOperand(
          values, stride: matrix.columns, count: isWide ? matrix.rows : matrix.columns,
          length: isWide ? matrix.columns : matrix.rows, isWide: isWide)
        addSymmetricProducts(
          of: vectors, times: sign, rowCount: rowCount, to: sum, stride: start.columns,
          threads: threads)
      }
    }
    return sum
  }

  @Test(
    arguments: VectorLevels.available,
    [
      (1, 1), (5, 3), (3, 5), (24, 24), (100, 25), (25, 100), (300, 49), (7, 200), (1, 97),
      (530, 1),
    ])
  func productsMatchPlainLoops(_ level: UInt32, _ shape: (Int, Int)) {
    let matrix = Matrix.pattern(rows: shape.0, columns: shape.1)
    for (isWide, sign) in [(false, 1.0), (true, -1)] {
      let count = isWide ? shape.0 : shape.1
      let start = Matrix.filled(count, count) { Double($0 * 3 - $1) }
      let sum = VectorLevels.at(level) {
        product(matrix, isWide: isWide, sign: sign, rowCount: nil, start: start, threads: 1)
      }
      let exact = expected(matrix, isWide: isWide, sign: sign, start: start)
      for (value, reference) in zip(sum.values, exact.values) {
        #expect(abs(value - reference) <= 1e-12 * max(1, abs(reference)))
      }
    }
  }

  @Test func threadsDoNotChangeProducts() {
    let matrix = Matrix.pattern(rows: 300, columns: 1100)
    for isWide in [false, true] {
      let count = isWide ? 300 : 1100
      let start = Matrix(zerosOfRows: count, columns: count)
      let sums = [1, 3].map {
        product(matrix, isWide: isWide, sign: 1, rowCount: nil, start: start, threads: $0)
      }
      #expect(sums[0] == sums[1])
    }
  }

  @Test(arguments: [0, 1, 50, 95])
  func rowsBelowCountAreKept(_ rowCount: Int) {
    let matrix = Matrix.pattern(rows: 20, columns: 120)
    let start = Matrix(identity: 120)
    let all = product(matrix, isWide: false, sign: 1, rowCount: nil, start: start, threads: 1)
    let sum = product(matrix, isWide: false, sign: 1, rowCount: rowCount, start: start, threads: 2)
    #expect(sum.rows(0..<rowCount) == all.rows(0..<rowCount))
    #expect(sum.rows(rowCount..<120) == start.rows(rowCount..<120))
  }

  @Test(arguments: [1, 63, 64, 65, 256, 257, 330])
  func factorsReconstructMatrix(_ count: Int) {
    let pattern = Matrix.pattern(rows: count, columns: count)
    let matrix = pattern.multiplied(by: pattern, otherSide: .transposed).addingToDiagonal(0.5)
    var factor = matrix
    #expect(factor.withUnsafeMutableValues { factorUpperTriangle($0, count: count) })
    for row in 0..<count {
      for column in 0..<row {
        #expect(factor[row, column] == matrix[row, column])
        factor[row, column] = 0
      }
    }
    let product = factor.multiplied(by: factor, .transposed)
    let scale = matrix.diagonal.max() ?? 0
    for (value, reference) in zip(product.values, matrix.values) {
      #expect(abs(value - reference) <= 1e-13 * scale)
    }
  }

  @Test(arguments: [0, 63, 64, 255, 256, 299])
  func indefiniteMatricesHaveNoFactor(_ place: Int) {
    var matrix = Matrix(identity: 300).scaled(by: 2)
    matrix[place, place] = -1
    let isDefinite = matrix.withUnsafeMutableValues { factorUpperTriangle($0, count: 300) }
    #expect(!isDefinite)
  }
}
