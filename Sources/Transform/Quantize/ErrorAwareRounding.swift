import Formats
import LinearAlgebra

/// Rounds a weight so that the error of the layer's output, rather than of the weight, is minimal.
///
/// Both steps use the moments of the quantized input. `absorbing` finds the weight that compensates
/// for the quantization of the input, by least squares with a ridge towards the weight. `round`
/// rounds column by column and lets the remaining columns compensate for each error (GPTQ,
/// arXiv:2210.17323, algorithm 1, which is OBQ with a fixed order).
struct ErrorAwareRounding: Hashable, Sendable {
  /// The ridge relative to the mean variance of a quantized input.
  var ridge = 0.02
  /// The amount added to the diagonal before inversion, relative to its mean.
  var damping = 0.01

  /// Computes `(W C + λ W)(Ĥ + λ I)⁻¹`.
  ///
  /// - Returns: `weight` if inputs are constant.
  /// - Throws: `LAPACKError`.
  func absorbing(_ moments: InputMoments, in weight: Matrix) throws -> Matrix {
    let diagonal = moments.quantized.diagonal
    let lambda = ridge * diagonal.reduce(0, +) / Double(max(1, diagonal.count))
    guard lambda > 0 else { return weight }
    return try Cholesky(of: moments.quantized.addingToDiagonal(lambda))
      .solve(rowsOf: weight.multiplied(by: moments.cross).adding(weight, times: lambda))
  }

  /// Returns the codes of `weight`, row-major.
  ///
  /// Columns are rounded in the order of the diagonal of `moment`, largest first; among equals, in
  /// their own order.
  ///
  /// - Parameters:
  ///   - code: returns the quantizer of the element in a row and a column.
  ///   - moment: `[columns, columns]`, symmetric and positive semidefinite.
  /// - Throws: `LAPACKError`.
  /// - Complexity: O(rows · columns²).
  func round(
    _ weight: Matrix, moment: Matrix, code: (_ row: Int, _ column: Int) -> AffineCode
  ) throws -> [UInt8] {
    let count = weight.columns
    let diagonal = moment.diagonal
    let order = diagonal.indices.sorted {
      diagonal[$0] == diagonal[$1] ? $0 < $1 : diagonal[$0] > diagonal[$1]
    }
    let added = damping * diagonal.reduce(0, +) / Double(count)
    var ordered = Matrix(zerosOfRows: count, columns: count)
    for (row, source) in order.enumerated() {
      for (column, other) in order.enumerated() { ordered[row, column] = moment[source, other] }
    }
    // Inputs that are always zero impose no condition, so any positive diagonal will do.
    let inverse = try Cholesky(of: ordered.addingToDiagonal(added > 0 ? added : 1)).inverse()
    let factor = try Cholesky(of: inverse).lower.transposed

    var codes = [UInt8](repeating: 0, count: weight.values.count)
    var remaining = [Double](repeating: 0, count: count)
    factor.values.withUnsafeBufferPointer { factor in
      for row in 0..<weight.rows {
        for column in 0..<count { remaining[column] = weight[row, order[column]] }
        for column in 0..<count {
          let quantizer = code(row, order[column])
          let quantized = quantizer.encode(Float(remaining[column]))
          codes[row * count + order[column]] = UInt8(quantized)
          let start = column * count
          let error =
            (remaining[column] - Double(quantizer.decode(quantized))) / factor[start + column]
          for later in column + 1..<max(column + 1, count) {
            remaining[later] -= error * factor[start + later]
          }
        }
      }
    }
    return codes
  }
}
