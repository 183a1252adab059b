import Storage

/// The form in which a GGUF file holds a quantized matrix: a type of block, and the padding of
/// rows.
///
/// Codes are kept unchanged; only lower bounds and scales are rounded. In Q8_0, which has no lower
/// bound, values are rounded again where they are not multiples of one float16.
struct GGUFQuantizedForm: Hashable, Sendable {
  let type: GGUFTensorType.Written
  let rows: Int
  let columns: Int
  let paddedColumns: Int

  var byteCount: Int { rows * (paddedColumns / type.blocks.elementCount) * type.blocks.byteCount }

  /// Chooses the form with the fewest bytes that can hold `tensor`.
  ///
  /// - Parameter codes: the codes of `tensor`.
  /// - Throws: `ModelError` when no form can hold it.
  init(_ tensor: QuantizedTensor, codes: [UInt8], padsRows: Bool) throws {
    let layout = tensor.layout
    guard tensor.shape.rank == 2 else {
      throw ModelError.unsupported("GGUF quantizes matrices, not \(tensor.shape)")
    }
    let types = GGUFTensorType.Written.allCases.filter { $0.bitWidths.contains(tensor.bitWidth) }
    let fitting = types.filter { layout.hasUniformBlocks(of: $0.sharedLength) }
    guard !fitting.isEmpty else {
      throw ModelError.unsupported(
        "bounds per \(layout.granularity) end inside the blocks of "
          + types.map(\.name).joined(separator: ", "))
    }
    let candidates = try fitting.map { type in
      Self(
        type: type, rows: layout.rows, columns: layout.columns,
        paddedColumns: try layout.paddedColumns(toMultipleOf: type.blocks.elementCount))
    }
    let allowed = candidates.filter {
      (padsRows || $0.paddedColumns == $0.columns) && $0.type.admits(tensor, codes)
    }
    // `min` returns the first of the smallest, so the order of the cases decides ties.
    guard let smallest = allowed.min(by: { $0.byteCount < $1.byteCount }) else {
      let shortest = fitting.map(\.blocks.elementCount).min() ?? 0
      throw ModelError.unsupported(
        "rows of \(layout.columns) elements are not whole blocks of \(shortest) in GGUF"
      ).offering(.padding)
    }
    self = smallest
  }

  private init(type: GGUFTensorType.Written, rows: Int, columns: Int, paddedColumns: Int) {
    self.type = type
    self.rows = rows
    self.columns = columns
    self.paddedColumns = paddedColumns
  }

  /// Returns the stored blocks.
  ///
  /// - Throws: `ModelError` when parameters exceed the largest float16 or a scale underflows to
  ///   zero.
  func encode(_ tensor: QuantizedTensor) throws -> SharedBytes {
    let codes = try tensor.unpackedCodes(paddingRowsTo: paddedColumns)
    let length = type.blocks.elementCount
    return try SharedBytes(count: byteCount) { output in
      var encoder = GGUFBlockEncoder(type)
      for row in 0..<rows {
        for first in stride(from: 0, to: paddedColumns, by: length) {
          // A block's last cells may lie in the padding, which uses the parameters of the row's
          // last cell.
          let cells = stride(from: first, to: first + length, by: type.sharedLength).map {
            tensor.layout.cellIndex(row: row, column: min($0, columns - 1))
          }
          let start = row * paddedColumns + first
          let target = start / length * type.blocks.byteCount
          try encoder.encode(
            codes[start..<start + length], lower: cells.map { tensor.lower[$0] },
            scale: cells.map { tensor.scale[$0] },
            into: UnsafeMutableRawBufferPointer(
              rebasing: output[target..<target + type.blocks.byteCount]))
        }
      }
    }
  }

  /// Returns the values that a reader dequantizes from `stored`, without padding.
  func values(_ stored: SharedBytes) -> [Float] {
    let values = type.blocks.dequantize(stored)
    return values.withUnsafeBytes { buffer in
      let floats = buffer.bindMemory(to: Float.self)
      return (0..<rows).flatMap { row in
        floats[row * paddedColumns..<row * paddedColumns + columns]
      }
    }
  }
}

extension GGUFTensorType {
  /// The quantized types that are written, in order of preference.
  enum Written: CaseIterable, Sendable {
    case tq2, q2, q2k, q4, q4m, q5m, q8

    var name: String { blocks.name }

    /// ggml's `ggml_type`.
    var number: UInt32 { blocks.number }

    var blocks: GGUFBlocks {
      switch self {
      case .tq2: .tq2
      case .q2: .q2
      case .q2k: .q2k
      case .q4: .q4
      case .q4m: .q4m
      case .q5m: .q5m
      case .q8: .q8
      }
    }

    /// The bit widths of codes that the type can hold.
    var bitWidths: ClosedRange<Int> {
      switch self {
      case .tq2, .q2, .q2k: 1...2
      case .q4, .q4m: 1...4
      case .q5m: 5...5
      case .q8: 6...8
      }
    }

    /// The number of consecutive elements that share their lower bound and scale.
    var sharedLength: Int {
      switch self {
      case .q2k: 16
      // Values are rounded again where parameters differ.
      case .q8: 1
      default: blocks.elementCount
      }
    }

    /// Whether the type is a candidate; a type without a lower bound qualifies only if it is exact,
    /// or no other holds as many bits.
    func admits(_ tensor: QuantizedTensor, _ codes: [UInt8]) -> Bool {
      switch self {
      case .tq2: tensor.hasLowerBounds(-1) && !codes.contains(3)
      case .q2: tensor.hasLowerBounds(-1)
      case .q4: tensor.hasLowerBounds(-8)
      case .q2k, .q4m, .q5m, .q8: true
      }
    }
  }
}

extension QuantizedTensor {
  /// Whether every lower bound is `factor` times its scale, and every scale is exactly a float16.
  fileprivate func hasLowerBounds(_ factor: Float) -> Bool {
    zip(lower, scale).allSatisfy { lower, scale in
      lower == factor * scale && Float(Float16(scale)) == scale
    }
  }
}
