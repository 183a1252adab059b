extension AffineLayout {
  /// The cell that holds the element at `row` and `column`, by its index.
  func cellIndex(row: Int, column: Int) -> Int {
    switch granularity {
    case .tensor: row / (rows / parts)
    case .channel: row
    case .group(let groupSize): row * ((columns - 1) / groupSize + 1) + column / groupSize
    }
  }

  /// Whether the elements of each block of `length` neighbours, counted from a row's first, share
  /// their parameters.
  func hasUniformBlocks(of length: Int) -> Bool {
    guard case .group(let groupSize) = granularity else { return true }
    return groupSize >= columns || groupSize.isMultiple(of: length)
  }

  /// The row length filled up to whole blocks.
  ///
  /// - Throws: `FormatError` when that overflows.
  func paddedColumns(toMultipleOf length: Int) throws -> Int {
    let (sum, overflow) = columns.addingReportingOverflow(length - 1)
    let padded = sum / length * length
    guard !overflow, !padded.multipliedReportingOverflow(by: rows).overflow else {
      throw FormatError.unsupported("rows of \(columns) elements are too long to fill up")
    }
    return padded
  }
}

extension QuantizedTensor {
  /// The codes, each row filled up with code 0.
  func unpackedCodes(paddingRowsTo paddedColumns: Int) throws -> [UInt8] {
    let codes = try unpackedCodes()
    let columns = layout.columns
    guard paddedColumns > columns else { return codes }
    var padded = [UInt8](repeating: 0, count: layout.rows * paddedColumns)
    for row in 0..<layout.rows {
      padded.replaceSubrange(
        row * paddedColumns..<row * paddedColumns + columns,
        with: codes[row * columns..<(row + 1) * columns])
    }
    return padded
  }

  /// The elements in their own type, as `Float`.
  func logicalValues() throws -> [Float] {
    try Tensor(elementType: elementType, shape: shape, bytes: dequantized()).floatValues()
  }
}
