import LinearAlgebra

extension Tape {
  /// Returns a 3×3 convolution with zero padding of 1; `weight` is `[outputs, inputs, 3, 3]`.
  ///
  /// - Parameter height: the height of the image whose pixels are the rows of `x`.
  func convolution(
    _ x: Variable, height: Int, _ weight: ParameterReference, _ bias: ParameterReference?,
    outputs: Int
  ) -> Variable {
    convolution(
      x, height: height, weight, bias,
      shape: ConvolutionShape(outputs: outputs, inputs: x.columns))
  }

  /// Returns a convolution; `weight` is `[outputs, inputs, kernel height, kernel width]`.
  ///
  /// - Parameter height: the height of the image whose pixels are the rows of `x`.
  /// - Precondition: the image has as many pixels as the shape needs.
  func convolution(
    _ x: Variable, height: Int, _ weight: ParameterReference, _ bias: ParameterReference?,
    shape: ConvolutionShape
  ) -> Variable {
    let patches = PatchMatrix(shape, height: height, width: x.rows / height)
    let (outputs, rows) = (shape.outputs, patches.size.height * patches.size.width)
    precondition(
      height * patches.width == x.rows && shape.inputs == x.columns && rows > 0
        && weight.count == outputs * patches.columns)
    let isWanted = gradient(weight) != nil || bias.map { gradient($0) != nil } ?? false
    let y = result(rows: rows, columns: outputs, needsGradient: x.needsGradient || isWanted)
    spread(bias, rows: rows, columns: outputs, to: y.values)
    pool.withScratch(weight.count) { taps in
      order(values(weight), patches, to: taps)
      multiply(
        x.values, patches,
        SinglePrecisionOperand(taps, stride: patches.columns, isTransposed: true),
        outputs: outputs, to: y.values, isAdding: bias != nil)
    }
    record(y) { [self] gradient in
      if let target = self.gradient(weight) {
        addWeightGradient(x.values, patches, gradient.pointer, to: target)
      }
      addColumnSums(of: gradient.pointer, rows: rows, columns: outputs, to: bias)
      guard x.needsGradient else { return }
      guard shape.isSimple else {
        return addInputGradient(
          values(weight), patches, gradient.pointer, to: x.gradientToAddTo(pool).pointer)
      }
      let isAdding = x.gradient != nil
      let dx = x.gradient ?? pool.take(x.count)
      let reverse = PatchMatrix(
        ConvolutionShape(outputs: x.columns, inputs: outputs), height: height,
        width: patches.width)
      pool.withScratch(weight.count) { taps in
        flip(values(weight), outputs: outputs, inputs: x.columns, to: taps)
        multiply(
          gradient.pointer, reverse, SinglePrecisionOperand(taps, stride: x.columns),
          outputs: x.columns, to: dx.pointer, isAdding: isAdding)
      }
      if !isAdding { x.add(gradient: dx) }
    }
    return y
  }

  /// Reorders weights `[outputs, inputs, taps]` to `[outputs, taps, inputs]`, the order of the rows of
  /// patches.
  private func order(
    _ weight: UnsafePointer<Float>, _ patches: PatchMatrix, to taps: UnsafeMutablePointer<Float>
  ) {
    for output in 0..<patches.shape.outputs {
      let (source, target) = (weight + output * patches.columns, taps + output * patches.columns)
      for input in 0..<patches.channels {
        for tap in 0..<patches.tapCount {
          target[tap * patches.channels + input] = source[input * patches.tapCount + tap]
        }
      }
    }
  }

  /// Computes `y = patches(x) · taps`, one band of rows at a time.
  private func multiply(
    _ x: UnsafePointer<Float>, _ patches: PatchMatrix, _ taps: SinglePrecisionOperand,
    outputs: Int, to y: UnsafeMutablePointer<Float>, isAdding: Bool
  ) {
    pool.withScratch(patches.bandTokens * patches.columns) { band in
      patches.forEachBand { rows in
        patches.fill(rows, from: x, to: band)
        multiplySinglePrecision(
          rows: rows.count * patches.size.width, columns: outputs, inner: patches.columns,
          SinglePrecisionOperand(band, stride: patches.columns), taps,
          to: y + rows.lowerBound * patches.size.width * outputs, stride: outputs,
          isAdding: isAdding)
      }
    }
  }

  private func addWeightGradient(
    _ x: UnsafePointer<Float>, _ patches: PatchMatrix, _ dy: UnsafePointer<Float>,
    to target: UnsafeMutablePointer<Float>
  ) {
    let (outputs, taps) = (patches.shape.outputs, patches.tapCount)
    let count = outputs * patches.columns
    pool.withScratch(count + patches.bandTokens * patches.columns) { scratch in
      let (sums, band) = (scratch, scratch + count)
      sums.update(repeating: 0, count: count)
      patches.forEachBand { rows in
        patches.fill(rows, from: x, to: band)
        multiplySinglePrecision(
          rows: outputs, columns: patches.columns, inner: rows.count * patches.size.width,
          SinglePrecisionOperand(
            dy + rows.lowerBound * patches.size.width * outputs, stride: outputs,
            isTransposed: true),
          SinglePrecisionOperand(band, stride: patches.columns), to: sums,
          stride: patches.columns, isAdding: true)
      }
      for output in 0..<outputs {
        let (from, to) = (sums + output * patches.columns, target + output * patches.columns)
        for tap in 0..<taps {
          for channel in 0..<patches.channels {
            to[channel * taps + tap] += from[tap * patches.channels + channel]
          }
        }
      }
    }
  }

  /// Adds to the gradient of the image, from that of the patches.
  private func addInputGradient(
    _ weight: UnsafePointer<Float>, _ patches: PatchMatrix, _ dy: UnsafePointer<Float>,
    to dx: UnsafeMutablePointer<Float>
  ) {
    let outputs = patches.shape.outputs
    let count = outputs * patches.columns
    pool.withScratch(count + patches.bandTokens * patches.columns) { scratch in
      let (taps, band) = (scratch, scratch + count)
      order(weight, patches, to: taps)
      patches.forEachBand { rows in
        multiplySinglePrecision(
          rows: rows.count * patches.size.width, columns: patches.columns, inner: outputs,
          SinglePrecisionOperand(
            dy + rows.lowerBound * patches.size.width * outputs, stride: outputs),
          SinglePrecisionOperand(taps, stride: patches.columns), to: band,
          stride: patches.columns)
        patches.spread(rows, of: band, to: dx)
      }
    }
  }

  /// Writes the weights that propagate a gradient back, `[9, outputs, inputs]`, with the taps in
  /// reverse order.
  private func flip(
    _ weight: UnsafePointer<Float>, outputs: Int, inputs: Int,
    to taps: UnsafeMutablePointer<Float>
  ) {
    for output in 0..<outputs {
      for input in 0..<inputs {
        let source = weight + (output * inputs + input) * 9
        for tap in 0..<9 { taps[((8 - tap) * outputs + output) * inputs + input] = source[tap] }
      }
    }
  }
}
