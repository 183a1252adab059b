import LinearAlgebra
import Testing

@Suite struct MatrixTests {
  @Test(arguments: [(0, 4), (1, 5), (33, 65), (64, 3)])
  func transposingTwiceGivesSameMatrix(_ rows: Int, _ columns: Int) {
    let matrix = Matrix.pattern(rows: rows, columns: columns)
    let transposed = matrix.transposed
    #expect(transposed.rows == columns && transposed.columns == rows)
    #expect(transposed.transposed == matrix)
    for row in 0..<rows {
      for column in 0..<columns { #expect(transposed[column, row] == matrix[row, column]) }
    }
  }

  @Test func rowRangesAreExtracted() {
    let matrix = Matrix(rows: 3, columns: 2, values: [1, 2, 3, 4, 5, 6])
    #expect(matrix.rows(1..<3) == Matrix(rows: 2, columns: 2, values: [3, 4, 5, 6]))
    #expect(matrix.rows(1..<1) == Matrix(rows: 0, columns: 2, values: []))
  }
}
