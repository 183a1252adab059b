extension Tape {
  /// Applies PyTorch's `PixelUnshuffle`, the inverse of `pixelShuffle`.
  ///
  /// - Parameter height: the height of the image whose pixels are the rows of `x`.
  func pixelUnshuffle(_ x: Variable, height: Int, factor: Int) -> Variable {
    squares(x, height: height, factor: factor, channelStride: factor * factor, placeStride: 1)
  }

  /// Makes one pixel of each square of `factor` × `factor`, with the channels of one pixel after those
  /// of another, row by row.
  ///
  /// - Parameter height: as for `pixelUnshuffle`.
  func mergePixels(_ x: Variable, height: Int, factor: Int) -> Variable {
    squares(x, height: height, factor: factor, channelStride: 1, placeStride: x.columns)
  }

  /// Makes one pixel of each square, with each element where its channel and its place in the square
  /// say.
  private func squares(
    _ x: Variable, height: Int, factor: Int, channelStride: Int, placeStride: Int
  ) -> Variable {
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
              pixel * columns + channel * channelStride + place * placeStride)
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

  /// Interpolates every pixel of the result at its place in `x` plus an offset, as
  /// `GraphOperation.sample` says. Beyond the edges, places count as those at the edge.
  ///
  /// - Parameters:
  ///   - height: the height of the image whose pixels are the rows of `x`.
  ///   - offsets: one row per pixel of `x`, `[2, groups, factor, factor]`.
  func sample(
    _ x: Variable, height: Int, at offsets: Variable, factor: Int, groups: Int
  ) -> Variable {
    let (width, size, area) = (x.rows / height, x.columns / groups, factor * factor)
    precondition(offsets.rows == x.rows && offsets.columns == 2 * groups * area)
    let y = result(
      rows: x.rows * area, columns: x.columns,
      needsGradient: x.needsGradient || offsets.needsGradient)
    /// Calls `body` with the first column of each group in each row of the result, the index of its
    /// offset to the right, and its places.
    func forEachGroup(
      _ body: (_ row: Int, _ first: Int, _ offset: Int, _ down: Float, _ right: Float) -> Void
    ) {
      for row in 0..<y.rows {
        let (i, j) = (row / (width * factor), row % (width * factor))
        let (fromRow, fromColumn) = (i / factor, j / factor)
        let start =
          (fromRow * width + fromColumn) * offsets.columns + i % factor * factor + j % factor
        for group in 0..<groups {
          let offset = start + group * area
          body(
            row, group * size, offset,
            Float(fromRow) + offsets.values[offset + groups * area],
            Float(fromColumn) + offsets.values[offset])
        }
      }
    }
    let image = GraphInference.View(
      height: height, width: width, channels: x.columns, stride: x.columns, start: x.values)
    forEachGroup { row, first, _, down, right in
      image.interpolate(
        LinearPlace(down, count: height), LinearPlace(right, count: width),
        channels: first..<first + size, to: y.values + row * x.columns)
    }
    record(y) { [pool] gradient in
      let dx = x.needsGradient ? x.gradientToAddTo(pool).pointer : nil
      let dOffsets = offsets.needsGradient ? offsets.gradientToAddTo(pool).pointer : nil
      forEachGroup { row, first, offset, downward, toRight in
        let down = LinearPlace(downward, count: height)
        let right = LinearPlace(toRight, count: width)
        func element(_ row: Int, _ column: Int) -> Int {
          (row * width + column) * x.columns + first
        }
        let corners = (
          element(down.first, right.first), element(down.first, right.second),
          element(down.second, right.first), element(down.second, right.second)
        )
        let g = gradient.pointer + row * x.columns + first
        if let dx {
          for column in 0..<size {
            let (upper, lower) = (g[column] * (1 - down.share), g[column] * down.share)
            dx[corners.0 + column] += upper * (1 - right.share)
            dx[corners.1 + column] += upper * right.share
            dx[corners.2 + column] += lower * (1 - right.share)
            dx[corners.3 + column] += lower * right.share
          }
        }
        guard let dOffsets else { return }
        var slopes: (down: Float, right: Float) = (0, 0)
        for column in 0..<size {
          let (a, b) = (x.values[corners.0 + column], x.values[corners.1 + column])
          let (c, d) = (x.values[corners.2 + column], x.values[corners.3 + column])
          slopes.right += g[column] * ((b - a) * (1 - down.share) + (d - c) * down.share)
          slopes.down += g[column] * ((c - a) * (1 - right.share) + (d - b) * right.share)
        }
        // Beyond the edges, nothing depends on the offset.
        if toRight > 0, toRight < Float(width - 1) { dOffsets[offset] += slopes.right }
        if downward > 0, downward < Float(height - 1) {
          dOffsets[offset + groups * area] += slopes.down
        }
      }
    }
    return y
  }
}
