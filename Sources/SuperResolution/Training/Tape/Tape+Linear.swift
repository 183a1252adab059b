import LinearAlgebra

extension Tape {
  /// Returns `x Wᵀ + b`; `weight` is `[outputs, inputs]`.
  func linear(
    _ x: Variable, _ weight: ParameterReference, _ bias: ParameterReference?, outputs: Int
  ) -> Variable {
    let (rows, inputs) = (x.rows, x.columns)
    precondition(weight.count == outputs * inputs, "a weight of another shape")
    let isWanted = gradient(weight) != nil || bias.map { gradient($0) != nil } ?? false
    let y = result(rows: rows, columns: outputs, needsGradient: x.needsGradient || isWanted)
    spread(bias, rows: rows, columns: outputs, to: y.values)
    multiplySinglePrecision(
      rows: rows, columns: outputs, inner: inputs, SinglePrecisionOperand(x.values, stride: inputs),
      SinglePrecisionOperand(values(weight), stride: inputs, isTransposed: true), to: y.values,
      stride: outputs, isAdding: bias != nil)
    record(y) { [self] gradient in
      let dy = SinglePrecisionOperand(gradient.pointer, stride: outputs)
      if let target = self.gradient(weight) {
        multiplySinglePrecision(
          rows: outputs, columns: inputs, inner: rows,
          SinglePrecisionOperand(gradient.pointer, stride: outputs, isTransposed: true),
          SinglePrecisionOperand(x.values, stride: inputs), to: target, stride: inputs,
          isAdding: true)
      }
      addColumnSums(of: gradient.pointer, rows: rows, columns: outputs, to: bias)
      guard x.needsGradient else { return }
      let isAdding = x.gradient != nil
      let dx = x.gradient ?? pool.take(rows * inputs)
      multiplySinglePrecision(
        rows: rows, columns: inputs, inner: outputs, dy,
        SinglePrecisionOperand(values(weight), stride: inputs), to: dx.pointer, stride: inputs,
        isAdding: isAdding)
      if !isAdding { x.add(gradient: dx) }
    }
    return y
  }

  /// Copies a bias to every row; does nothing without a bias.
  func spread(
    _ bias: ParameterReference?, rows: Int, columns: Int, to y: UnsafeMutablePointer<Float>
  ) {
    guard let bias else { return }
    precondition(bias.count == columns, "a bias of another length")
    for row in 0..<rows { (y + row * columns).update(from: values(bias), count: columns) }
  }

  /// Adds the sum of every column to the gradient of a bias, if that gradient is wanted.
  func addColumnSums(
    of dy: UnsafePointer<Float>, rows: Int, columns: Int, to bias: ParameterReference?
  ) {
    guard let bias, let target = gradient(bias) else { return }
    for row in 0..<rows {
      let source = dy + row * columns
      for column in 0..<columns { target[column] += source[column] }
    }
  }
}
