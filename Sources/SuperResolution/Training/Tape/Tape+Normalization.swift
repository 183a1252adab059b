extension Tape {
  /// Returns the layer normalization: brings each row to mean 0 and variance 1 (divisor `columns`),
  /// then applies `· scale + offset` to each column.
  func layerNormalization(
    _ x: Variable, _ scale: ParameterReference, _ offset: ParameterReference,
    epsilon: Float = 1e-5
  ) -> Variable {
    let (rows, columns) = (x.rows, x.columns)
    precondition(scale.count == columns && offset.count == columns, "another number of columns")
    let y = result(
      rows: rows, columns: columns,
      needsGradient: x.needsGradient || gradient(scale) != nil || gradient(offset) != nil)
    // The mean and the reciprocal standard deviation of every row.
    let moments = pool.take(2 * rows)
    let (gamma, beta) = (values(scale), values(offset))
    for row in 0..<rows {
      let (source, target) = (x.values + row * columns, y.values + row * columns)
      let mean = valueAndSquareSums(source, columns).values / Float(columns)
      for column in 0..<columns { target[column] = source[column] - mean }
      let variance = dotProduct(target, target, columns) / Float(columns)
      let inverse = 1 / (variance + epsilon).squareRoot()
      for column in 0..<columns {
        target[column] = target[column] * inverse * gamma[column] + beta[column]
      }
      moments.pointer[2 * row] = mean
      moments.pointer[2 * row + 1] = inverse
    }
    record(y) { [self] gradient in
      let (dScale, dOffset) = (self.gradient(scale), self.gradient(offset))
      pool.withScratch(columns) { normalized in
        for row in 0..<rows {
          let (source, g) = (x.values + row * columns, gradient.pointer + row * columns)
          let (mean, inverse) = (moments.pointer[2 * row], moments.pointer[2 * row + 1])
          for column in 0..<columns { normalized[column] = (source[column] - mean) * inverse }
          if let dScale {
            for column in 0..<columns { dScale[column] += g[column] * normalized[column] }
          }
          if let dOffset { for column in 0..<columns { dOffset[column] += g[column] } }
          for column in 0..<columns { g[column] *= gamma[column] }
          let average = valueAndSquareSums(g, columns).values / Float(columns)
          let slope = dotProduct(g, normalized, columns) / Float(columns)
          for column in 0..<columns {
            g[column] = inverse * (g[column] - average - normalized[column] * slope)
          }
        }
      }
      x.add(gradient: gradient)
    }
    return y
  }

  /// Returns the batch normalization with fixed statistics, `(x − mean) / √(variance + 1e-5) ·
  /// scale + offset`.
  func batchNormalization(_ x: Variable, _ norm: BatchStatistics) -> Variable {
    let (rows, columns) = (x.rows, x.columns)
    precondition(norm.mean.count == columns, "another number of columns")
    let (scale, offset) = (norm.scale, norm.offset)
    let y = result(
      rows: rows, columns: columns,
      needsGradient: x.needsGradient || gradient(scale) != nil || gradient(offset) != nil)
    pool.withScratch(2 * columns) { scratch in
      // y = slope · x + shift.
      let (slope, shift) = (scratch, scratch + columns)
      for column in 0..<columns {
        slope[column] = values(scale)[column] * norm.inverseDeviation[column]
        shift[column] = values(offset)[column] - norm.mean[column] * slope[column]
      }
      for row in 0..<rows {
        let (source, target) = (x.values + row * columns, y.values + row * columns)
        for column in 0..<columns {
          target[column] = source[column] * slope[column] + shift[column]
        }
      }
    }
    record(y) { [self] gradient in
      pool.withScratch(3 * columns) { scratch in
        let (slope, sum, product) = (scratch, scratch + columns, scratch + 2 * columns)
        for column in 0..<columns {
          slope[column] = values(scale)[column] * norm.inverseDeviation[column]
        }
        sum.update(repeating: 0, count: 2 * columns)
        for row in 0..<rows {
          let (source, g) = (x.values + row * columns, gradient.pointer + row * columns)
          for column in 0..<columns {
            sum[column] += g[column]
            product[column] += g[column] * source[column]
            g[column] *= slope[column]
          }
        }
        let (dScale, dOffset) = (self.gradient(scale), self.gradient(offset))
        for column in 0..<columns {
          dOffset?[column] += sum[column]
          dScale?[column] +=
            (product[column] - norm.mean[column] * sum[column]) * norm.inverseDeviation[column]
        }
      }
      x.add(gradient: gradient)
    }
    return y
  }

  /// Divides the queries and keys of every head by their norms, and multiplies queries by eˢ, at most
  /// 100, and the root of the head's channels, as `HeadNormalization` does.
  ///
  /// - Parameters:
  ///   - x: queries, keys and values side by side.
  ///   - scales: s of each head.
  func normalizeHeads(_ x: Variable, _ scales: ParameterReference) -> Variable {
    let (heads, columns) = (scales.count, x.columns)
    let size = columns / 3 / heads
    precondition(columns == 3 * heads * size, "another number of columns")
    let y = result(
      rows: x.rows, columns: columns, needsGradient: x.needsGradient || gradient(scales) != nil)
    let s = values(scales)
    let norm = HeadNormalization(scales: (0..<heads).map { s[$0] }, channels: columns / 3)
    y.values.update(from: x.values, count: x.count)
    for row in 0..<x.rows { norm.apply(y.values + row * columns) }
    record(y) { [self] gradient in
      let dScales = self.gradient(scales)
      for row in 0..<x.rows {
        for vector in 0..<2 * heads {
          let first = row * columns + vector * size
          let (source, made, g) = (x.values + first, y.values + first, gradient.pointer + first)
          // y = f · x / ‖x‖, of which the gradient has no part along x.
          let length = max(1e-12, dotProduct(source, source, size).squareRoot())
          let factor = vector < heads ? norm.factors[vector] : 1
          let along = dotProduct(g, made, size)
          if vector < heads, norm.factors[vector] < 100 * Float(size).squareRoot() {
            dScales?[vector] += along
          }
          for column in 0..<size {
            g[column] =
              (factor * g[column] - made[column] * along / factor) / length
          }
        }
      }
      x.add(gradient: gradient)
    }
    return y
  }
}

/// A batch normalization that keeps the statistics of the original training.
struct BatchStatistics: Sendable {
  let scale: ParameterReference
  let offset: ParameterReference
  let mean: [Float]
  /// `1 / √(variance + 1e-5)`.
  let inverseDeviation: [Float]
}
