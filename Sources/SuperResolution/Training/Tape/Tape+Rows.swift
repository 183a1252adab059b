/// An order in which rows are taken from a matrix: `sources[row]` is the number of a row there, or
/// −1 for a row of zeros. What is put back takes no row twice.
struct RowOrder: Sendable {
  let sources: [Int32]
  /// The number of rows in the matrix.
  let sourceCount: Int
}

extension RowOrder {
  /// The pixels of windows of an image, one window after another, row by row. Those outside the image
  /// are rows of zeros.
  ///
  /// - Parameters:
  ///   - size: that of a window.
  ///   - step: the distance of windows, which divides the image; `nil` for windows side by side.
  ///   - margin: the rows and columns by which windows begin before multiples of the step.
  static func windows(
    _ size: (height: Int, width: Int), step: Int? = nil, margin: Int = 0, height: Int, width: Int
  ) -> RowOrder {
    let (down, right) = (step ?? size.height, step ?? size.width)
    precondition(height % down == 0 && width % right == 0, "windows that do not divide the image")
    var sources: [Int32] = []
    for top in stride(from: -margin, to: height - margin, by: down) {
      for left in stride(from: -margin, to: width - margin, by: right) {
        for row in top..<top + size.height {
          for column in left..<left + size.width {
            let isInside = (0..<height).contains(row) && (0..<width).contains(column)
            sources.append(isInside ? Int32(row * width + column) : -1)
          }
        }
      }
    }
    return RowOrder(sources: sources, sourceCount: height * width)
  }
}

extension Tape {
  /// Returns the rows of `x` in another order, restricted to ranges of columns placed side by side.
  func gather(_ x: Variable, _ order: RowOrder, columns: [Range<Int>]) -> Variable {
    let width = columns.reduce(0) { $0 + $1.count }
    let (rows, stride) = (order.sources.count, x.columns)
    precondition(order.sourceCount == x.rows, "an order of other rows")
    let y = result(rows: rows, columns: width, needsGradient: x.needsGradient)
    for row in 0..<rows {
      var target = y.values + row * width
      let source = Int(order.sources[row])
      guard source >= 0 else {
        target.update(repeating: 0, count: width)
        continue
      }
      for range in columns {
        target.update(from: x.values + source * stride + range.lowerBound, count: range.count)
        target += range.count
      }
    }
    record(y) { [pool] gradient in
      let dx = x.gradientToAddTo(pool).pointer
      for row in 0..<rows where order.sources[row] >= 0 {
        var g = gradient.pointer + row * width
        let target = dx + Int(order.sources[row]) * stride
        for range in columns {
          let part = target + range.lowerBound
          for column in 0..<range.count { part[column] += g[column] }
          g += range.count
        }
      }
    }
    return y
  }

  /// Applies an operation to the rows in another order, all of them once, and puts its rows back.
  func reordered(
    _ x: Variable, _ order: RowOrder, _ operation: (Variable) -> Variable
  ) -> Variable {
    scatter([(operation(gather(x, order, columns: [0..<x.columns])), order)])
  }

  /// Puts the rows of every part back where its order took them from, with the parts side by side.
  ///
  /// The operations that compute the parts need not keep their results.
  func scatter(_ parts: [(rows: Variable, order: RowOrder)]) -> Variable {
    let width = parts.reduce(0) { $0 + $1.rows.columns }
    let count = parts[0].order.sourceCount
    let y = result(
      rows: count, columns: width, needsGradient: parts.contains { $0.rows.needsGradient })
    var first = 0
    for (part, order) in parts {
      precondition(order.sources.count == part.rows && order.sourceCount == count)
      for row in 0..<part.rows where order.sources[row] >= 0 {
        (y.values + Int(order.sources[row]) * width + first).update(
          from: part.values + row * part.columns, count: part.columns)
      }
      first += part.columns
    }
    record(y) { [pool] gradient in
      var first = 0
      for (part, order) in parts {
        let g = pool.take(part.count)
        for row in 0..<part.rows {
          let target = g.pointer + row * part.columns
          let source = Int(order.sources[row])
          if source >= 0 {
            target.update(
              from: gradient.pointer + source * width + first, count: part.columns)
          } else {
            target.update(repeating: 0, count: part.columns)
          }
        }
        part.add(gradient: g)
        first += part.columns
      }
    }
    return y
  }
}
