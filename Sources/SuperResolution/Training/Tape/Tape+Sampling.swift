extension Tape {
  /// Applies PyTorch's `PixelUnshuffle`, the inverse of `pixelShuffle`.
  ///
  /// - Parameter height: the height of the image whose pixels are the rows of `x`.
  func pixelUnshuffle(_ x: Variable, height: Int, factor: Int) -> Variable {
    let (width, channels, area) = (x.rows / height, x.columns, factor * factor)
    precondition(height % factor == 0 && width % factor == 0)
    let (rows, columns) = (x.rows / area, x.columns * area)
    let y = result(rows: rows, columns: columns, needsGradient: x.needsGradient)
    /// Calls `body` with the place of every element in the image and in the result.
    func forEachElement(_ body: (_ from: Int, _ to: Int) -> Void) {
      for row in 0..<height {
        for column in 0..<width {
          let pixel = row / factor * (width / factor) + column / factor
          let place = row % factor * factor + column % factor
          for channel in 0..<channels {
            body(
              (row * width + column) * channels + channel,
              pixel * columns + channel * area + place)
          }
        }
      }
    }
    forEachElement { from, to in y.values[to] = x.values[from] }
    record(y) { [pool] gradient in
      let dx = x.gradientToAddTo(pool).pointer
      forEachElement { from, to in dx[from] += gradient.pointer[to] }
    }
    return y
  }

  /// Returns rows that are weighted sums of rows of `x`.
  ///
  /// - Parameter parts: the rows of `x` and their weights for each row of the result.
  func combineRows(_ x: Variable, _ parts: [[(row: Int, weight: Float)]]) -> Variable {
    let columns = x.columns
    let y = result(rows: parts.count, columns: columns, needsGradient: x.needsGradient)
    for (row, parts) in parts.enumerated() {
      let target = y.values + row * columns
      target.update(repeating: 0, count: columns)
      for part in parts {
        let source = x.values + part.row * columns
        for column in 0..<columns { target[column] += part.weight * source[column] }
      }
    }
    record(y) { [pool] gradient in
      let dx = x.gradientToAddTo(pool).pointer
      for (row, parts) in parts.enumerated() {
        let g = gradient.pointer + row * columns
        for part in parts {
          let target = dx + part.row * columns
          for column in 0..<columns { target[column] += part.weight * g[column] }
        }
      }
    }
    return y
  }

  /// Returns the largest value of each column among the rows of each cell, the first among equals.
  ///
  /// - Parameter cells: the rows of `x`, at least one, for each row of the result.
  func largest(_ x: Variable, _ cells: [[Int]]) -> Variable {
    let columns = x.columns
    let y = result(rows: cells.count, columns: columns, needsGradient: x.needsGradient)
    var sources = [Int32](repeating: 0, count: y.count)
    for (index, cell) in cells.enumerated() {
      for column in 0..<columns {
        var best = cell[0]
        for row in cell where x.values[row * columns + column] > x.values[best * columns + column] {
          best = row
        }
        sources[index * columns + column] = Int32(best)
        y.values[index * columns + column] = x.values[best * columns + column]
      }
    }
    record(y) { [pool] gradient in
      let dx = x.gradientToAddTo(pool).pointer
      for (index, source) in sources.enumerated() {
        dx[Int(source) * columns + index % columns] += gradient.pointer[index]
      }
    }
    return y
  }
}
