extension Tape {
  /// Returns `x + y`, stored in the buffer of `y`.
  ///
  /// - Parameter y: the result of an operation whose backward step does not read it, used nowhere
  ///   else.
  func add(_ x: Variable, consuming y: Variable) -> Variable {
    precondition(x.count == y.count && x.columns == y.columns, "addends of different shapes")
    let sum = result(
      rows: x.rows, columns: x.columns, needsGradient: x.needsGradient || y.needsGradient,
      in: y.buffer())
    let (values, addend) = (sum.values, x.values)
    for index in 0..<sum.count { values[index] += addend[index] }
    record(sum) { [pool] gradient in
      if x.needsGradient, y.needsGradient {
        let copy = pool.take(gradient.count)
        copy.pointer.update(from: gradient.pointer, count: gradient.count)
        x.add(gradient: copy)
      } else {
        x.add(gradient: gradient)
      }
      y.add(gradient: gradient)
    }
    return sum
  }

  /// Returns the same values in a buffer of their own, for an operation that consumes them.
  func copy(_ x: Variable) -> Variable {
    let y = result(rows: x.rows, columns: x.columns, needsGradient: x.needsGradient)
    y.values.update(from: x.values, count: x.count)
    record(y) { x.add(gradient: $0) }
    return y
  }

  /// Returns `factor · x`.
  func scale(_ x: Variable, by factor: Float) -> Variable {
    let y = result(rows: x.rows, columns: x.columns, needsGradient: x.needsGradient)
    for index in 0..<y.count { y.values[index] = x.values[index] * factor }
    record(y) { gradient in
      for index in 0..<gradient.count { gradient.pointer[index] *= factor }
      x.add(gradient: gradient)
    }
    return y
  }

  /// Returns `x ∘ y`, the product element by element.
  func multiply(_ x: Variable, _ y: Variable) -> Variable {
    precondition(x.rows == y.rows && x.columns == y.columns, "factors of different shapes")
    let product = result(
      rows: x.rows, columns: x.columns, needsGradient: x.needsGradient || y.needsGradient)
    let count = product.count
    for index in 0..<count { product.values[index] = x.values[index] * y.values[index] }
    record(product) { [pool] gradient in
      let dx = pool.take(count)
      let g = gradient.pointer
      for index in 0..<count { dx.pointer[index] = g[index] * y.values[index] }
      for index in 0..<count { g[index] *= x.values[index] }
      x.add(gradient: dx)
      y.add(gradient: gradient)
    }
    return product
  }

  /// Returns the product of two results, of which either may have one row or one column that counts
  /// for all of the other.
  func product(_ x: Variable, _ y: Variable) -> Variable {
    if x.rows == y.rows, x.columns == y.columns { return multiply(x, y) }
    if x.count < y.count { return product(y, x) }
    return y.rows == 1 && y.columns == x.columns
      ? multiplyColumns(x, by: y) : multiplyRows(x, by: y)
  }

  /// Multiplies each column by a factor of its own; `factors` is `[1, columns]`.
  func multiplyColumns(_ x: Variable, by factors: Variable) -> Variable {
    precondition(factors.rows == 1 && factors.columns == x.columns, "a factor for every column")
    let (rows, columns) = (x.rows, x.columns)
    let y = result(
      rows: rows, columns: columns, needsGradient: x.needsGradient || factors.needsGradient)
    for row in 0..<rows {
      let (source, target) = (x.values + row * columns, y.values + row * columns)
      for column in 0..<columns { target[column] = source[column] * factors.values[column] }
    }
    record(y) { [pool] gradient in
      let sums = pool.takeZeros(columns)
      for row in 0..<rows {
        let (source, g) = (x.values + row * columns, gradient.pointer + row * columns)
        for column in 0..<columns {
          sums.pointer[column] += g[column] * source[column]
          g[column] *= factors.values[column]
        }
      }
      factors.add(gradient: sums)
      x.add(gradient: gradient)
    }
    return y
  }

  /// Multiplies each row by a factor of its own; `factors` is `[rows, 1]`.
  func multiplyRows(_ x: Variable, by factors: Variable) -> Variable {
    precondition(factors.columns == 1 && factors.rows == x.rows, "a factor for every row")
    let (rows, columns) = (x.rows, x.columns)
    let y = result(
      rows: rows, columns: columns, needsGradient: x.needsGradient || factors.needsGradient)
    for row in 0..<rows {
      let (source, target) = (x.values + row * columns, y.values + row * columns)
      let factor = factors.values[row]
      for column in 0..<columns { target[column] = source[column] * factor }
    }
    record(y) { [pool] gradient in
      let sums = pool.take(rows)
      for row in 0..<rows {
        let (source, g) = (x.values + row * columns, gradient.pointer + row * columns)
        sums.pointer[row] = dotProduct(g, source, columns)
        let factor = factors.values[row]
        for column in 0..<columns { g[column] *= factor }
      }
      factors.add(gradient: sums)
      x.add(gradient: gradient)
    }
    return y
  }

  /// Returns a range of columns.
  func columns(_ range: Range<Int>, of x: Variable) -> Variable {
    let (rows, stride, count) = (x.rows, x.columns, range.count)
    let y = result(rows: rows, columns: count, needsGradient: x.needsGradient)
    for row in 0..<rows {
      (y.values + row * count).update(
        from: x.values + row * stride + range.lowerBound, count: count)
    }
    record(y) { [pool] gradient in
      let dx = x.gradientToAddTo(pool).pointer
      for row in 0..<rows {
        let (target, g) = (dx + row * stride + range.lowerBound, gradient.pointer + row * count)
        for column in 0..<count { target[column] += g[column] }
      }
    }
    return y
  }

  /// Returns the average of every column, `[1, columns]`.
  func columnAverages(_ x: Variable) -> Variable {
    let (rows, columns) = (x.rows, x.columns)
    let y = result(rows: 1, columns: columns, needsGradient: x.needsGradient)
    y.values.update(repeating: 0, count: columns)
    for row in 0..<rows {
      let source = x.values + row * columns
      for column in 0..<columns { y.values[column] += source[column] }
    }
    let share = 1 / Float(rows)
    for column in 0..<columns { y.values[column] *= share }
    record(y) { [pool] gradient in
      let dx = x.gradientToAddTo(pool).pointer
      for row in 0..<rows {
        let target = dx + row * columns
        for column in 0..<columns { target[column] += gradient.pointer[column] * share }
      }
    }
    return y
  }
}
