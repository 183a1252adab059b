import CLAPACKE

/// A dense real matrix that owns its elements, row-major and in double precision.
///
/// Weights of every element type are widened to `Double`, so that the accuracy of results is
/// limited by the weights and not by the arithmetic.
///
/// ```swift
/// let matrix = Matrix(rows: 2, columns: 3, values: [1, 2, 3, 4, 5, 6])
/// print(matrix[1, 0])  // 4.0
/// print(matrix.multiplied(by: matrix.transposed).values)  // [14.0, 32.0, 32.0, 77.0]
/// ```
public struct Matrix: Hashable, Sendable {
  /// The number of rows; may be 0.
  public let rows: Int
  /// The number of columns; may be 0.
  public let columns: Int
  /// The `rows · columns` elements, row by row.
  public private(set) var values: [Double]

  /// Creates a matrix from its elements.
  ///
  /// - Parameter values: `rows · columns` elements, row by row.
  /// - Precondition: The counts are not negative and agree.
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
    // Square tiles keep the source and destination of the copy in the cache.
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

  /// Returns the rows in `range`.
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

extension Matrix {
  /// Whether a factor enters a product transposed.
  public enum Side: Sendable {
    /// The matrix as it is.
    case plain
    /// The transposed matrix, without a copy.
    case transposed

    fileprivate var blas: CBLAS_TRANSPOSE { self == .plain ? CblasNoTrans : CblasTrans }
  }

  /// Creates a matrix of `rows` by `columns` zeros.
  public init(zerosOfRows rows: Int, columns: Int) {
    self.init(
      rows: rows, columns: columns, values: [Double](repeating: 0, count: rows * columns))
  }

  /// Creates the identity matrix of order `count`.
  public init(identity count: Int) {
    self.init(zerosOfRows: count, columns: count)
    for index in 0..<count { self[index, index] = 1 }
  }

  /// Returns `op(self) · op(other)`, computed by BLAS's `dgemm`.
  ///
  /// - Precondition: The inner dimensions agree, and all dimensions fit in 32 bits.
  /// - Complexity: O(rows · inner · columns).
  public func multiplied(
    by other: Matrix, _ side: Side = .plain, otherSide: Side = .plain
  ) -> Matrix {
    let (rows, inner) = side == .plain ? (self.rows, columns) : (columns, self.rows)
    let (otherInner, otherColumns) =
      otherSide == .plain ? (other.rows, other.columns) : (other.columns, other.rows)
    precondition(inner == otherInner, "\(rows)×\(inner) and \(otherInner)×\(otherColumns)")
    var result = [Double](repeating: 0, count: rows * otherColumns)
    if !result.isEmpty, inner > 0 {
      OpenBLAS.calls.cblas_dgemm(
        CblasRowMajor, side.blas, otherSide.blas, Int32(rows), Int32(otherColumns), Int32(inner),
        1, values, Int32(columns), other.values, Int32(other.columns), 0, &result,
        Int32(otherColumns))
    }
    return Matrix(rows: rows, columns: otherColumns, values: result)
  }

  /// Returns `self + factor · other`, element by element.
  ///
  /// - Precondition: The shapes agree.
  package func adding(_ other: Matrix, times factor: Double = 1) -> Matrix {
    precondition(rows == other.rows && columns == other.columns, "the shapes differ")
    return Matrix(
      rows: rows, columns: columns,
      values: zip(values, other.values).map { $0 + factor * $1 })
  }

  /// Returns `factor · self`.
  package func scaled(by factor: Double) -> Matrix {
    Matrix(rows: rows, columns: columns, values: values.map { $0 * factor })
  }

  /// Returns `self` with `value` added to every element of the diagonal.
  package func addingToDiagonal(_ value: Double) -> Matrix {
    var result = self
    for index in 0..<min(rows, columns) { result[index, index] += value }
    return result
  }

  /// Returns `Σᵢⱼ self[i, j] · other[i, j]`, summed in order.
  ///
  /// - Precondition: The shapes agree.
  package func inner(_ other: Matrix) -> Double {
    precondition(rows == other.rows && columns == other.columns, "the shapes differ")
    return zip(values, other.values).reduce(0) { $0 + $1.0 * $1.1 }
  }

  /// Returns `self · vector`.
  ///
  /// - Precondition: The vector has one value per column.
  public func multiplied(by vector: [Double]) -> [Double] {
    precondition(vector.count == columns, "the vector has \(vector.count) of \(columns) values")
    return (0..<rows).map { row in
      (0..<columns).reduce(0) { $0 + values[row * columns + $1] * vector[$1] }
    }
  }

  /// Returns `trace(self · weight · selfᵀ)`, which is `E‖self · x‖²` if the weight is a second
  /// moment `E[xxᵀ]`.
  ///
  /// - Precondition: `weight` is square, with one row per column of `self`.
  package func energy(_ weight: Matrix) -> Double { multiplied(by: weight).inner(self) }

  /// The elements on the diagonal.
  package var diagonal: [Double] { (0..<min(rows, columns)).map { self[$0, $0] } }

  /// Adds `Σ rᵀr` over the rows `r` of `other` to this symmetric matrix, in both triangles.
  ///
  /// - Parameter other: `count · columns` values, row by row.
  /// - Precondition: `self` is square and symmetric.
  package mutating func addProducts(ofRows other: UnsafeBufferPointer<Double>) {
    precondition(rows == columns && columns > 0, "a symmetric sum is square")
    precondition(other.count.isMultiple(of: columns), "the last row is not whole")
    guard let start = other.baseAddress, !other.isEmpty else { return }
    let columns = columns
    withUnsafeMutableValues { sum in
      guard let first = sum.baseAddress else { return }
      let vectors = SymmetricProductOperand(
        start, stride: columns, count: columns, length: other.count / columns)
      addSymmetricProducts(of: vectors, to: first, stride: columns, threads: BLASThreads.count)
      for row in 0..<columns {
        for column in 0..<row { sum[row * columns + column] = sum[column * columns + row] }
      }
    }
  }

  /// Adds `leftᵀ · right`, where the rows of `left` have `rows` values and those of `right` have
  /// `columns` values.
  ///
  /// - Precondition: Both have the same number of complete rows.
  package mutating func addProducts(
    _ left: UnsafeBufferPointer<Double>, _ right: UnsafeBufferPointer<Double>
  ) {
    precondition(rows > 0 && columns > 0, "a sum of products has elements")
    let count = left.count / rows
    precondition(
      left.count == count * rows && right.count == count * columns, "the rows do not agree")
    guard let leftStart = left.baseAddress, let rightStart = right.baseAddress, count > 0 else {
      return
    }
    let (rows, columns) = (Int32(self.rows), Int32(self.columns))
    withUnsafeMutableValues { sum in
      OpenBLAS.calls.cblas_dgemm(
        CblasRowMajor, CblasTrans, CblasNoTrans, rows, columns, Int32(count), 1, leftStart, rows,
        rightStart, columns, 1, sum.baseAddress, columns)
    }
  }
}
