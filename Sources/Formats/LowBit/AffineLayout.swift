import Storage

/// The division of a matrix into cells that share quantization parameters.
///
/// Each cell has one lower bound and one scale. Parameters are stored in row-major order of the
/// cells: those of upper rows first, and from left to right within a row.
///
/// ```swift
/// let layout = try AffineLayout(rows: 2, columns: 96, granularity: .group(64))
/// print(layout.cellCount, layout.cell(1).columns)  // 4 64..<96
/// ```
public struct AffineLayout: Hashable, Sendable {
  /// Elements that share a lower bound and a scale; cells of several rows span all columns.
  public struct Cell: Hashable, Sendable {
    /// The rows that it spans.
    public let rows: Range<Int>
    /// The columns that it spans in each of these rows.
    public let columns: Range<Int>

    /// The number of elements.
    public var elementCount: Int { rows.count * columns.count }
  }

  /// The number of rows of the matrix.
  public let rows: Int
  /// The number of columns of the matrix.
  public let columns: Int
  /// Which elements share parameters.
  public let granularity: QuantizationGranularity
  /// The number of matrices stacked along the rows, such as the three of a fused query-key-value
  /// weight. Each has its own parameters under `.tensor`; the other granularities separate rows
  /// anyway and have one part.
  public let parts: Int

  /// Creates the layout of a matrix `[rows, columns]`.
  ///
  /// - Parameter parts: a divisor of `rows`; 1 unless `granularity` is `.tensor`.
  /// - Throws: `ModelError` when the matrix is empty, its element count overflows, or the
  ///   granularity or the parts do not fit it.
  public init(
    rows: Int, columns: Int, granularity: QuantizationGranularity, parts: Int = 1
  ) throws {
    guard rows > 0, columns > 0, !rows.multipliedReportingOverflow(by: columns).overflow else {
      throw ModelError.mismatch(
        expected: "a matrix of at least one element and fewer than 2^63",
        found: "\(rows) rows of \(columns)")
    }
    if case .group(let groupSize) = granularity, groupSize < 1 {
      throw ModelError.mismatch(expected: "a group size of at least 1", found: "\(groupSize)")
    }
    guard parts >= 1, parts == 1 || granularity == .tensor else {
      throw ModelError.mismatch(
        expected: "one part, or several per tensor", found: "\(parts) parts per \(granularity)")
    }
    guard rows.isMultiple(of: parts) else {
      throw ModelError.mismatch(
        expected: "rows that divide into \(parts) parts", found: "\(rows) rows")
    }
    self.rows = rows
    self.columns = columns
    self.granularity = granularity
    self.parts = parts
  }

  /// Creates the layout of a tensor viewed as `Shape.matrix`; a vector is one row.
  ///
  /// - Throws: `ModelError` as above, and for scalars.
  public init(
    shape: Shape, granularity: QuantizationGranularity, parts: Int = 1
  ) throws {
    guard shape.rank >= 1 else {
      throw ModelError.unsupported("a scalar cannot be quantized")
    }
    let matrix = shape.matrix ?? (rows: 1, columns: shape.elementCount)
    try self.init(
      rows: matrix.rows, columns: matrix.columns, granularity: granularity, parts: parts)
  }

  /// The number of elements of the matrix.
  public var elementCount: Int { rows * columns }

  /// The number of lower bounds, which equals that of scales; at most `elementCount`.
  public var cellCount: Int {
    switch granularity {
    case .tensor: parts
    case .channel: rows
    case .group: rows * cellsPerRow
    }
  }

  /// Returns the cell at `index` in the order of the parameters.
  ///
  /// - Precondition: `index` is in `0..<cellCount`.
  public func cell(_ index: Int) -> Cell {
    precondition((0..<cellCount).contains(index), "cell index out of range")
    switch granularity {
    case .tensor:
      let height = rows / parts
      return Cell(rows: index * height..<(index + 1) * height, columns: 0..<columns)
    case .channel:
      return Cell(rows: index..<index + 1, columns: 0..<columns)
    case .group(let groupSize):
      let row = index / cellsPerRow
      let first = index % cellsPerRow * groupSize
      return Cell(
        rows: row..<row + 1, columns: first..<first + Swift.min(groupSize, columns - first))
    }
  }

  /// Returns the index of the cell that holds the element at `row` and `column`.
  package func cellIndex(row: Int, column: Int) -> Int {
    switch granularity {
    case .tensor: row / (rows / parts)
    case .channel: row
    case .group(let groupSize): row * cellsPerRow + column / groupSize
    }
  }

  /// Returns the elements of the cell at `index`, which are contiguous in row-major order.
  package func elements(ofCell index: Int) -> Range<Int> {
    let cell = cell(index)
    let first = cell.rows.lowerBound * columns + cell.columns.lowerBound
    return first..<first + cell.elementCount
  }

  /// Calls `body` with every cell and its index, in the order of the parameters.
  package func forEachCell(_ body: (_ index: Int, _ cell: Cell) throws -> Void) rethrows {
    for index in 0..<cellCount { try body(index, cell(index)) }
  }

  /// The number of groups of a row; 1 without groups.
  package var cellsPerRow: Int {
    guard case .group(let groupSize) = granularity else { return 1 }
    return (columns - 1) / groupSize + 1
  }
}
