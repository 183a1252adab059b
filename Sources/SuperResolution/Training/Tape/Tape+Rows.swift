/// An order in which rows are taken from a matrix: `sources[row]` is the number of a row there, or
/// −1 for a row of zeros. No row is taken twice.
struct RowOrder: Sendable {
  let sources: [Int32]
  /// The number of rows in the matrix.
  let sourceCount: Int
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
