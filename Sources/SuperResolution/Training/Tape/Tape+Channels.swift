extension Tape {
  /// Returns `max(x, 0) + slope · min(x, 0)`, with one slope per column or one for all.
  func parametricReLU(_ x: Variable, _ slopes: ParameterReference) -> Variable {
    let (rows, columns) = (x.rows, x.columns)
    precondition(slopes.count == columns || slopes.count == 1, "another number of columns")
    let y = result(
      rows: rows, columns: columns, needsGradient: x.needsGradient || gradient(slopes) != nil)
    let (slope, step) = (values(slopes), slopes.count == 1 ? 0 : 1)
    for row in 0..<rows {
      let (source, target) = (x.values + row * columns, y.values + row * columns)
      for column in 0..<columns {
        target[column] = max(source[column], 0) + slope[column * step] * min(source[column], 0)
      }
    }
    record(y) { [self] gradient in
      let dSlopes = self.gradient(slopes)
      for row in 0..<rows {
        let (source, g) = (x.values + row * columns, gradient.pointer + row * columns)
        if let dSlopes {
          for column in 0..<columns {
            dSlopes[column * step] += g[column] * min(source[column], 0)
          }
        }
        for column in 0..<columns where source[column] <= 0 { g[column] *= slope[column * step] }
      }
      x.add(gradient: gradient)
    }
    return y
  }

  /// Adds one offset to each column.
  func addToColumns(_ x: Variable, _ offsets: ParameterReference) -> Variable {
    let (rows, columns) = (x.rows, x.columns)
    let y = result(
      rows: rows, columns: columns, needsGradient: x.needsGradient || gradient(offsets) != nil)
    spread(offsets, rows: rows, columns: columns, to: y.values)
    for index in 0..<y.count { y.values[index] += x.values[index] }
    record(y) { [self] gradient in
      addColumnSums(of: gradient.pointer, rows: rows, columns: columns, to: offsets)
      x.add(gradient: gradient)
    }
    return y
  }

  /// Returns the columns of all parts, one part after another.
  func concatenate(_ parts: [Variable]) -> Variable {
    let (rows, columns) = (parts[0].rows, parts.reduce(0) { $0 + $1.columns })
    precondition(parts.allSatisfy { $0.rows == rows }, "parts of different heights")
    let y = result(
      rows: rows, columns: columns, needsGradient: parts.contains { $0.needsGradient })
    var first = 0
    for part in parts {
      for row in 0..<rows {
        (y.values + row * columns + first).update(
          from: part.values + row * part.columns, count: part.columns)
      }
      first += part.columns
    }
    record(y) { [pool] gradient in
      var first = 0
      for part in parts {
        if part.needsGradient {
          let dx = part.gradientToAddTo(pool).pointer
          for row in 0..<rows {
            let (target, g) = (dx + row * part.columns, gradient.pointer + row * columns + first)
            for column in 0..<part.columns { target[column] += g[column] }
          }
        }
        first += part.columns
      }
    }
    return y
  }

  /// Returns every column so many times, next to one another.
  func repeatColumns(_ x: Variable, _ count: Int) -> Variable {
    let y = result(rows: x.rows, columns: x.columns * count, needsGradient: x.needsGradient)
    for index in 0..<x.count {
      (y.values + index * count).update(repeating: x.values[index], count: count)
    }
    record(y) { [pool] gradient in
      let dx = x.gradientToAddTo(pool).pointer
      for index in 0..<x.count {
        for copy in 0..<count { dx[index] += gradient.pointer[index * count + copy] }
      }
    }
    return y
  }

  /// Returns the group normalization: brings the columns of each group, over all rows, to mean 0 and
  /// variance 1, then applies `· scale + offset` to each column.
  func groupNormalization(
    _ x: Variable, groups: Int, _ scale: ParameterReference, _ offset: ParameterReference,
    epsilon: Float
  ) -> Variable {
    let (rows, columns) = (x.rows, x.columns)
    let size = columns / groups
    precondition(scale.count == columns && offset.count == columns, "another number of columns")
    let y = result(
      rows: rows, columns: columns,
      needsGradient: x.needsGradient || gradient(scale) != nil || gradient(offset) != nil)
    let (gamma, beta) = (values(scale), values(offset))
    let count = Double(rows * size)
    /// Sums over the elements of each group.
    func sums(_ element: (_ index: Int, _ column: Int) -> Double) -> [Double] {
      var sums = [Double](repeating: 0, count: groups)
      for row in 0..<rows {
        for column in 0..<columns { sums[column / size] += element(row * columns + column, column) }
      }
      return sums
    }
    let means = sums { index, _ in Double(x.values[index]) }.map { $0 / count }
    let inverses = sums { index, column in
      let difference = Double(x.values[index]) - means[column / size]
      return difference * difference
    }.map { 1 / ($0 / count + Double(epsilon)).squareRoot() }
    func normalized(_ index: Int, _ column: Int) -> Float {
      Float((Double(x.values[index]) - means[column / size]) * inverses[column / size])
    }
    for row in 0..<rows {
      for column in 0..<columns {
        let index = row * columns + column
        y.values[index] = normalized(index, column) * gamma[column] + beta[column]
      }
    }
    record(y) { [self] gradient in
      let g = gradient.pointer
      addColumnSums(of: g, rows: rows, columns: columns, to: offset)
      if let dScale = self.gradient(scale) {
        for row in 0..<rows {
          for column in 0..<columns {
            let index = row * columns + column
            dScale[column] += g[index] * normalized(index, column)
          }
        }
      }
      for row in 0..<rows {
        for column in 0..<columns { g[row * columns + column] *= gamma[column] }
      }
      let averages = sums { index, _ in Double(g[index]) }.map { $0 / count }
      let slopes = sums { index, column in
        Double(g[index]) * Double(normalized(index, column))
      }.map { $0 / count }
      for row in 0..<rows {
        for column in 0..<columns {
          let (index, group) = (row * columns + column, column / size)
          let centred =
            Double(g[index]) - averages[group] - Double(normalized(index, column)) * slopes[group]
          g[index] = Float(inverses[group] * centred)
        }
      }
      x.add(gradient: gradient)
    }
    return y
  }
}
