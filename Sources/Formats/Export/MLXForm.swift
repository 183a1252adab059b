/// How MLX's affine mode holds a matrix: `scale · code + bias` for groups along a row.
///
/// Codes are a little-endian bit stream, low bits first, in `uint32` words; every row is whole words
/// because rows are whole groups. Source: `affine_quantize` in MLX's `ops.cpp`, and its CPU kernels,
/// which round the product before the sum.
struct MLXForm: Hashable, Sendable {
  /// Bits of a code in MLX; wider than the packed file's where MLX has no such width.
  let bitWidth: Int
  let groupSize: Int
  let rows: Int
  let columns: Int
  let paddedColumns: Int

  static let bitWidths = [2, 3, 4, 5, 6, 8]
  /// The largest first: it needs the fewest parameters.
  static let groupSizes = [128, 64, 32]

  /// The form with the shortest rows, and of these the one with the largest groups.
  ///
  /// - Throws: `FormatError` when MLX has none.
  init(_ tensor: QuantizedTensor, padsRows: Bool) throws {
    let layout = tensor.layout
    guard tensor.shape.rank == 2 else {
      throw FormatError.unsupported("MLX quantizes matrices, not \(tensor.shape)")
    }
    guard let bitWidth = Self.bitWidths.first(where: { $0 >= tensor.bitWidth }) else {
      throw FormatError.unsupported("MLX has no codes of \(tensor.bitWidth) bits")
    }
    let fitting = Self.groupSizes.filter(layout.hasUniformBlocks)
    guard !fitting.isEmpty else {
      throw FormatError.unsupported(
        "bounds per \(layout.granularity) are none of MLX's groups of 32, 64 or 128")
    }
    var best: (groupSize: Int, paddedColumns: Int)?
    for groupSize in fitting {
      let padded = try layout.paddedColumns(toMultipleOf: groupSize)
      guard padsRows || padded == layout.columns else { continue }
      if best.map({ padded < $0.paddedColumns }) ?? true { best = (groupSize, padded) }
    }
    guard let best else {
      throw FormatError.unsupported(
        "rows of \(layout.columns) elements are not whole groups of \(Self.groupSizes.last ?? 0) in "
          + "MLX; --pad fills them up")
    }
    self.bitWidth = bitWidth
    (groupSize, paddedColumns) = best
    rows = layout.rows
    columns = layout.columns
  }

  /// `uint32` words of a row.
  var wordsPerRow: Int { paddedColumns / 32 * bitWidth }
  var groupsPerRow: Int { paddedColumns / groupSize }

  func words(of tensor: QuantizedTensor) throws -> SharedBytes {
    BitStream.pack(
      try tensor.unpackedCodes(paddingRowsTo: paddedColumns), bitWidth: bitWidth)
  }

  /// One of a group's parameters for every group, row-major.
  func perGroup(_ parameters: [Float], _ layout: AffineLayout) -> [Float] {
    (0..<rows).flatMap { row in
      (0..<groupsPerRow).map { parameters[layout.cellIndex(row: row, column: $0 * groupSize)] }
    }
  }

  /// What MLX dequantizes in `float32`, without padding.
  static func values(
    codes: [UInt8], scales: [Float], biases: [Float], columns: Int, paddedColumns: Int,
    groupSize: Int
  ) -> [Float] {
    let rows = paddedColumns == 0 ? 0 : codes.count / paddedColumns
    let groupsPerRow = paddedColumns / groupSize
    var values: [Float] = []
    values.reserveCapacity(rows * columns)
    for row in 0..<rows {
      for column in 0..<columns {
        let group = row * groupsPerRow + column / groupSize
        let product = scales[group] * Float(codes[row * paddedColumns + column])
        values.append(product + biases[group])
      }
    }
    return values
  }
}
