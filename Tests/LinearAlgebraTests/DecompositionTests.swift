import Testing

@testable import LinearAlgebra

/// Decompositions and products, compared with plain loops over their definitions.
@Suite struct DecompositionTests {
  private static let shapes = [(1, 1), (1, 7), (7, 1), (5, 3), (3, 5), (12, 12), (40, 17)]

  private func difference(_ left: Matrix, _ right: Matrix) -> Double {
    zip(left.values, right.values).map { abs($0 - $1) }.max() ?? 0
  }

  private func naiveProduct(_ left: Matrix, _ right: Matrix) -> Matrix {
    Matrix.filled(left.rows, right.columns) { row, column in
      (0..<left.columns).reduce(0) { $0 + left[row, $1] * right[$1, column] }
    }
  }

  @Test(arguments: shapes) func productsMatchPlainLoops(_ shape: (Int, Int)) {
    let left = Matrix.pattern(rows: shape.0, columns: shape.1)
    let right = Matrix.pattern(rows: shape.1, columns: 4)
    let expected = naiveProduct(left, right)
    #expect(difference(left.multiplied(by: right), expected) < 1e-13)
    #expect(difference(left.transposed.multiplied(by: right, .transposed), expected) < 1e-13)
    #expect(
      difference(left.multiplied(by: right.transposed, otherSide: .transposed), expected) < 1e-13)
    let vector = (0..<shape.1).map { Double($0) - 1 }
    let column = naiveProduct(left, Matrix(rows: shape.1, columns: 1, values: vector))
    #expect(left.multiplied(by: vector) == column.values)
  }

  @Test(arguments: shapes) func decompositionsReconstructMatrix(_ shape: (Int, Int)) throws {
    let matrix = Matrix.pattern(rows: shape.0, columns: shape.1)
    let decomposition = try SingularValueDecomposition(of: matrix)
    let count = min(shape.0, shape.1)
    #expect(decomposition.values == decomposition.values.sorted(by: >))
    #expect(difference(decomposition.reconstructed(with: decomposition.values), matrix) < 1e-13)
    let (left, right) = (decomposition.left, decomposition.right)
    let identity = Matrix(identity: count)
    #expect(difference(left.multiplied(by: left, .transposed), identity) < 1e-13)
    #expect(difference(right.multiplied(by: right, otherSide: .transposed), identity) < 1e-13)
    let values = try SingularValues(of: matrix, method: .decomposition).values
    #expect(zip(values, decomposition.values).allSatisfy { abs($0 - $1) < 1e-12 })
  }

  @Test(arguments: [(0, 3), (3, 0), (0, 0)]) func emptyMatricesHaveEmptyParts(_ shape: (Int, Int))
    throws
  {
    let decomposition = try SingularValueDecomposition(
      of: Matrix(zerosOfRows: shape.0, columns: shape.1))
    #expect(decomposition.values.isEmpty)
    #expect(decomposition.reconstructed(with: []).values.isEmpty)
  }

  @Test func zeroAndConstantMatricesHaveOrthonormalVectors() throws {
    for value in [0.0, 2.5] {
      let matrix = Matrix.filled(6, 4) { _, _ in value }
      let decomposition = try SingularValueDecomposition(of: matrix)
      let product = decomposition.left.multiplied(by: decomposition.left, .transposed)
      #expect(difference(product, Matrix(identity: 4)) < 1e-13)
    }
  }

  @Test func nonFiniteElementsAreNamed() {
    var matrix = Matrix.pattern(rows: 3, columns: 3)
    matrix[1, 2] = .nan
    let error = LAPACKError.nonFiniteElement(row: 1, column: 2, value: "nan")
    let broken = matrix
    #expect(throws: error) { try SingularValueDecomposition(of: broken) }
    #expect(throws: error) { try SymmetricEigenvalues(of: broken) }
    #expect(throws: error) { try Cholesky(of: broken) }
  }

  private func definite(_ count: Int) -> Matrix {
    let matrix = Matrix.pattern(rows: count, columns: count)
    return matrix.multiplied(by: matrix, otherSide: .transposed).addingToDiagonal(0.5)
  }

  @Test(arguments: [1, 2, 9, 33]) func choleskyFactorsSolveAndInvert(_ count: Int) throws {
    let matrix = definite(count)
    let factor = try Cholesky(of: matrix)
    let lower = factor.lower
    #expect(difference(lower.multiplied(by: lower, otherSide: .transposed), matrix) < 1e-12)
    #expect(
      (0..<count).allSatisfy { row in
        (row + 1..<count + 1).dropLast().allSatisfy { lower[row, $0] == 0 }
      })
    let identity = Matrix(identity: count)
    #expect(difference(matrix.multiplied(by: try factor.inverse()), identity) < 1e-11)
    let right = Matrix.pattern(rows: 4, columns: count)
    let solution = try factor.solve(rowsOf: right)
    #expect(difference(solution.multiplied(by: matrix), right) < 1e-11)
  }

  @Test func indefiniteMatricesAreRefused() {
    var matrix = Matrix(identity: 3)
    matrix[1, 1] = -1
    let indefinite = matrix
    #expect(throws: LAPACKError.noConvergence(routine: "dpotrf", info: 2)) {
      try Cholesky(of: indefinite)
    }
  }

  @Test func eigenvaluesMatchKnownMatrix() throws {
    let matrix = Matrix(rows: 2, columns: 2, values: [2, 1, 1, 2])
    let values = try SymmetricEigenvalues(of: matrix).values
    #expect(zip(values, [1, 3]).allSatisfy { abs($0 - $1) < 1e-14 })
    #expect(try SymmetricEigenvalues(of: Matrix(zerosOfRows: 0, columns: 0)).values.isEmpty)
  }

  @Test func productsAccumulate() {
    let rows = Matrix.pattern(rows: 11, columns: 5)
    let others = Matrix.pattern(rows: 11, columns: 3)
    var square = Matrix(identity: 5)
    rows.values.withUnsafeBufferPointer { square.addProducts(ofRows: $0) }
    let expected = naiveProduct(rows.transposed, rows).adding(Matrix(identity: 5))
    #expect(difference(square, expected) < 1e-13)
    var mixed = Matrix(zerosOfRows: 5, columns: 3)
    rows.values.withUnsafeBufferPointer { left in
      others.values.withUnsafeBufferPointer { mixed.addProducts(left, $0) }
    }
    #expect(difference(mixed, naiveProduct(rows.transposed, others)) < 1e-13)
  }

  @Test func energyMatchesSumOfSquaredOutputs() {
    let matrix = Matrix.pattern(rows: 4, columns: 3)
    let samples = Matrix.pattern(rows: 50, columns: 3)
    let moment = naiveProduct(samples.transposed, samples)
    let outputs = naiveProduct(samples, matrix.transposed)
    let expected = outputs.values.reduce(0) { $0 + $1 * $1 }
    #expect(abs(matrix.energy(moment) - expected) < 1e-10 * expected)
  }
}
