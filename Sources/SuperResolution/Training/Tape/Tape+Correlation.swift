import LinearAlgebra

extension Tape {
  /// Computes `(q kᵀ / channels + bias) k` in every window and head, as `CorrelationShape.run` does.
  ///
  /// - Parameters:
  ///   - queries: those of every window, `[windows · pixels, columns]`.
  ///   - keys: one per cell, `[windows · cells, columns]`.
  ///   - table: the bias of every relative position, `[span², heads]`.
  func correlation(
    _ queries: Variable, keys: Variable, table: Variable, _ shape: CorrelationShape
  ) -> Variable {
    let pass = CorrelationPass(queries, keys: keys, table: table, shape, pool)
    let y = result(
      rows: queries.rows, columns: queries.columns,
      needsGradient: queries.needsGradient || keys.needsGradient || table.needsGradient)
    pass.run(to: y.values)
    record(y) { pass.differentiate($0.pointer) }
    return y
  }
}

private final class CorrelationPass {
  private let queries: Variable
  private let keys: Variable
  private let table: Variable
  private let pool: BufferPool
  private let heads: Int
  private let columns: Int
  /// The columns of a head.
  private let width: Int
  /// The queries of a window.
  private let pixels: Int
  /// The keys of a window.
  private let cells: Int
  private let windows: Int
  /// The row of the table for each query and key.
  private let positions: [Int]

  init(
    _ queries: Variable, keys: Variable, table: Variable, _ shape: CorrelationShape,
    _ pool: BufferPool
  ) {
    (self.queries, self.keys, self.table, self.pool) = (queries, keys, table, pool)
    (heads, columns) = (shape.heads, queries.columns)
    width = columns / heads
    pixels = shape.window * shape.window
    cells = shape.keys * shape.keys
    windows = queries.rows / pixels
    precondition(queries.rows == windows * pixels && keys.rows == windows * cells)
    precondition(keys.columns == columns && columns == heads * width)
    positions = shape.positions
  }

  /// Returns the rows of a head in a window of `rows` rows.
  private func part(
    _ window: Int, _ head: Int, of rows: Int, in values: UnsafePointer<Float>,
    isTransposed: Bool = false
  ) -> SinglePrecisionOperand {
    SinglePrecisionOperand(
      values + window * rows * columns + head * width, stride: columns, isTransposed: isTransposed)
  }

  private func biases(_ head: Int, to biases: UnsafeMutablePointer<Float>) {
    for (index, row) in positions.enumerated() { biases[index] = table.values[row * heads + head] }
  }

  func run(to y: UnsafeMutablePointer<Float>) {
    pool.withScratch(pixels * cells + width * width) { biases in
      let products = biases + pixels * cells
      for head in 0..<heads {
        self.biases(head, to: biases)
        for window in 0..<windows {
          multiplyKeys(window, head, to: products)
          let target = y + window * pixels * columns + head * width
          multiplySinglePrecision(
            rows: pixels, columns: width, inner: width,
            part(window, head, of: pixels, in: queries.values),
            SinglePrecisionOperand(products, stride: width), to: target, stride: columns)
          multiplySinglePrecision(
            rows: pixels, columns: width, inner: cells,
            SinglePrecisionOperand(biases, stride: cells),
            part(window, head, of: cells, in: keys.values), to: target, stride: columns,
            isAdding: true)
        }
      }
    }
  }

  /// Writes kᵀ k / channels: (q kᵀ) k is q (kᵀ k).
  private func multiplyKeys(_ window: Int, _ head: Int, to products: UnsafeMutablePointer<Float>) {
    multiplySinglePrecision(
      rows: width, columns: width, inner: cells,
      part(window, head, of: cells, in: keys.values, isTransposed: true),
      part(window, head, of: cells, in: keys.values), to: products, stride: width)
    for index in 0..<width * width { products[index] /= Float(width) }
  }

  /// Adds to the gradients of the queries, the keys and the table.
  func differentiate(_ dy: UnsafePointer<Float>) {
    let (dQueries, dKeys) = (pool.take(queries.count), pool.take(keys.count))
    let dTable = table.needsGradient ? table.gradientToAddTo(pool).pointer : nil
    let (area, square) = (pixels * cells, width * width)
    pool.withScratch(2 * area + 3 * square) { biases in
      let dBiases = biases + area
      let products = dBiases + area
      let dProducts = products + square
      let sums = dProducts + square
      for head in 0..<heads {
        self.biases(head, to: biases)
        dBiases.update(repeating: 0, count: area)
        for window in 0..<windows {
          let dOut = part(window, head, of: pixels, in: dy)
          let k = part(window, head, of: cells, in: keys.values)
          multiplyKeys(window, head, to: products)
          multiplySinglePrecision(
            rows: pixels, columns: width, inner: width, dOut,
            SinglePrecisionOperand(products, stride: width),
            to: dQueries.pointer + window * pixels * columns + head * width, stride: columns)
          multiplySinglePrecision(
            rows: width, columns: width, inner: pixels,
            part(window, head, of: pixels, in: queries.values, isTransposed: true), dOut,
            to: dProducts, stride: width)
          // The product of keys with themselves depends on them twice.
          for row in 0..<width {
            for column in 0..<width {
              sums[row * width + column] =
                (dProducts[row * width + column] + dProducts[column * width + row]) / Float(width)
            }
          }
          let target = dKeys.pointer + window * cells * columns + head * width
          multiplySinglePrecision(
            rows: cells, columns: width, inner: width, k,
            SinglePrecisionOperand(sums, stride: width), to: target, stride: columns)
          multiplySinglePrecision(
            rows: cells, columns: width, inner: pixels,
            SinglePrecisionOperand(biases, stride: cells, isTransposed: true), dOut, to: target,
            stride: columns, isAdding: true)
          guard dTable != nil else { continue }
          multiplySinglePrecision(
            rows: pixels, columns: cells, inner: width, dOut,
            part(window, head, of: cells, in: keys.values, isTransposed: true), to: dBiases,
            stride: cells, isAdding: true)
        }
        guard let dTable else { continue }
        for (index, row) in positions.enumerated() { dTable[row * heads + head] += dBiases[index] }
      }
    }
    queries.add(gradient: dQueries)
    keys.add(gradient: dKeys)
  }
}
