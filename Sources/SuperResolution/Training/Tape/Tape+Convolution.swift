import LinearAlgebra

extension Tape {
  /// Returns a 3×3 convolution with zero padding of 1; `weight` is `[outputs, inputs, 3, 3]`.
  ///
  /// - Parameter height: the height of the image whose pixels are the rows of `x`.
  func convolution(
    _ x: Variable, height: Int, _ weight: ParameterReference, _ bias: ParameterReference?,
    outputs: Int
  ) -> Variable {
    let patches = PatchMatrix(height: height, width: x.rows / height, channels: x.columns)
    precondition(patches.tokens == x.rows && weight.count == outputs * patches.columns)
    let isWanted = gradient(weight) != nil || bias.map { gradient($0) != nil } ?? false
    let y = result(rows: x.rows, columns: outputs, needsGradient: x.needsGradient || isWanted)
    spread(bias, rows: x.rows, columns: outputs, to: y.values)
    pool.withScratch(weight.count) { taps in
      // Reorders [outputs, inputs, 9] to [outputs, 9, inputs], the order of the rows of patches.
      for output in 0..<outputs {
        transpose(
          values(weight) + output * patches.columns, rows: x.columns, columns: 9,
          to: taps + output * patches.columns)
      }
      multiply(
        x.values, patches,
        SinglePrecisionOperand(taps, stride: patches.columns, isTransposed: true),
        outputs: outputs, to: y.values, isAdding: bias != nil)
    }
    record(y) { [self] gradient in
      if let target = self.gradient(weight) {
        addWeightGradient(x.values, patches, gradient.pointer, outputs: outputs, to: target)
      }
      addColumnSums(of: gradient.pointer, rows: x.rows, columns: outputs, to: bias)
      guard x.needsGradient else { return }
      let isAdding = x.gradient != nil
      let dx = x.gradient ?? pool.take(x.count)
      let reverse = PatchMatrix(height: height, width: patches.width, channels: outputs)
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

  /// Computes `y = patches(x) · taps`, one band of rows at a time.
  private func multiply(
    _ x: UnsafePointer<Float>, _ patches: PatchMatrix, _ taps: SinglePrecisionOperand,
    outputs: Int, to y: UnsafeMutablePointer<Float>, isAdding: Bool
  ) {
    pool.withScratch(patches.bandTokens * patches.columns) { band in
      patches.forEachBand { rows in
        patches.fill(rows, from: x, to: band)
        multiplySinglePrecision(
          rows: rows.count * patches.width, columns: outputs, inner: patches.columns,
          SinglePrecisionOperand(band, stride: patches.columns), taps,
          to: y + rows.lowerBound * patches.width * outputs, stride: outputs, isAdding: isAdding)
      }
    }
  }

  private func addWeightGradient(
    _ x: UnsafePointer<Float>, _ patches: PatchMatrix, _ dy: UnsafePointer<Float>, outputs: Int,
    to target: UnsafeMutablePointer<Float>
  ) {
    let count = outputs * patches.columns
    pool.withScratch(count + patches.bandTokens * patches.columns) { scratch in
      let (taps, band) = (scratch, scratch + count)
      taps.update(repeating: 0, count: count)
      patches.forEachBand { rows in
        patches.fill(rows, from: x, to: band)
        multiplySinglePrecision(
          rows: outputs, columns: patches.columns, inner: rows.count * patches.width,
          SinglePrecisionOperand(
            dy + rows.lowerBound * patches.width * outputs, stride: outputs, isTransposed: true),
          SinglePrecisionOperand(band, stride: patches.columns), to: taps,
          stride: patches.columns, isAdding: true)
      }
      for output in 0..<outputs {
        let (source, sums) = (taps + output * patches.columns, target + output * patches.columns)
        for tap in 0..<9 {
          for channel in 0..<patches.channels {
            sums[channel * 9 + tap] += source[tap * patches.channels + channel]
          }
        }
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

private func transpose(
  _ x: UnsafePointer<Float>, rows: Int, columns: Int, to y: UnsafeMutablePointer<Float>
) {
  for row in 0..<rows {
    for column in 0..<columns { y[column * rows + row] = x[row * columns + column] }
  }
}

/// The 3×3 neighbourhoods of an image's pixels as rows of a matrix, `[pixels, 9 · channels]`, with
/// zeros outside the image. The matrix is filled one band of image rows at a time.
struct PatchMatrix {
  let height: Int
  let width: Int
  let channels: Int

  var tokens: Int { height * width }
  var columns: Int { 9 * channels }
  /// The number of image rows in a band of about 256 pixels.
  private var bandHeight: Int { min(height, max(1, 256 / width)) }
  /// The number of matrix rows in the largest band.
  var bandTokens: Int { bandHeight * width }

  func forEachBand(_ body: (Range<Int>) -> Void) {
    for first in stride(from: 0, to: height, by: bandHeight) {
      body(first..<min(height, first + bandHeight))
    }
  }

  func fill(
    _ rows: Range<Int>, from x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>
  ) {
    for row in rows {
      for column in 0..<width {
        let target = y + ((row - rows.lowerBound) * width + column) * columns
        for down in 0..<3 {
          fillThree(
            row + down - 1, column, from: x, to: target + down * 3 * channels)
        }
      }
    }
  }

  /// Copies three adjacent pixels, the middle one in `column`.
  private func fillThree(
    _ row: Int, _ column: Int, from x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>
  ) {
    guard row >= 0, row < height else { return y.update(repeating: 0, count: 3 * channels) }
    let first = max(0, column - 1)
    let last = min(width - 1, column + 1)
    let skipped = first - (column - 1)
    let count = last - first + 1
    if skipped > 0 { y.update(repeating: 0, count: skipped * channels) }
    (y + skipped * channels).update(
      from: x + (row * width + first) * channels, count: count * channels)
    if skipped + count < 3 {
      (y + (skipped + count) * channels).update(
        repeating: 0, count: (3 - skipped - count) * channels)
    }
  }
}
