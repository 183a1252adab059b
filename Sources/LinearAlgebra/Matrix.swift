/// A dense real matrix that owns its elements, row-major and in double precision.
///
/// Weights of every element type are widened to `Double`, so that what is computed from them is
/// limited by the weights and not by the arithmetic.
public struct Matrix: Hashable, Sendable {
  /// Rows; may be 0.
  public let rows: Int
  /// Columns; may be 0.
  public let columns: Int
  /// `rows · columns` elements, row by row.
  public private(set) var values: [Double]

  /// A matrix of elements that are there already.
  ///
  /// - Parameter values: `rows · columns` elements, row by row.
  /// - Precondition: the counts are not negative and agree.
  public init(rows: Int, columns: Int, values: [Double]) {
    precondition(rows >= 0 && columns >= 0, "a matrix has no negative dimensions")
    precondition(
      values.count == rows * columns, "\(values.count) elements are not [\(rows), \(columns)]")
    self.rows = rows
    self.columns = columns
    self.values = values
  }

  /// The element in `row` and `column`, both counted from zero.
  public subscript(row: Int, column: Int) -> Double {
    get { values[row * columns + column] }
    set { values[row * columns + column] = newValue }
  }

  /// The matrix with rows and columns exchanged.
  public var transposed: Matrix {
    // Square tiles keep both sides of the copy in the cache.
    let tile = 32
    let transposedValues = [Double](unsafeUninitializedCapacity: values.count) { output, count in
      values.withUnsafeBufferPointer { input in
        for top in stride(from: 0, to: rows, by: tile) {
          for left in stride(from: 0, to: columns, by: tile) {
            for row in top..<min(top + tile, rows) {
              for column in left..<min(left + tile, columns) {
                output.initializeElement(
                  at: column * rows + row, to: input[row * columns + column])
              }
            }
          }
        }
      }
      count = values.count
    }
    return Matrix(rows: columns, columns: rows, values: transposedValues)
  }

  /// Rows `range` alone.
  package func rows(_ range: Range<Int>) -> Matrix {
    Matrix(
      rows: range.count, columns: columns,
      values: Array(values[range.lowerBound * columns..<range.upperBound * columns]))
  }

  /// Calls `body` with the elements, row by row, for a routine that writes them in place.
  mutating func withUnsafeMutableValues<Result>(
    _ body: (UnsafeMutableBufferPointer<Double>) throws -> Result
  ) rethrows -> Result {
    try values.withUnsafeMutableBufferPointer { try body($0) }
  }
}
