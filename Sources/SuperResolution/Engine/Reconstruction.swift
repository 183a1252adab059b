/// The end of a network, which turns the body's features into an image: a chain of convolutions and
/// upscaling steps.
///
/// It runs in bands of rows, each extended by as many rows as the chain reaches, so that the
/// upscaled features never exist as a whole.
struct Reconstruction: Sendable {
  enum Step: Sendable {
    case convolution(ConvolutionLayer, Activation)
    /// PyTorch's `PixelShuffle`: channel `(c·r + i)·r + j` becomes row `i`, column `j` of channel
    /// `c`.
    case pixelShuffle(Int)
    /// Each pixel becomes `r` × `r`.
    case nearest(Int)
  }

  let steps: [Step]
  let scale: Int
  let outputs: Int

  init(_ steps: [Step], outputs: Int) {
    self.steps = steps
    self.outputs = outputs
    scale = steps.reduce(1) { $0 * $1.factor }
  }

  /// The distance, in low-resolution pixels, from which the chain carries a value.
  var reach: Int {
    let margin = steps.reduce(0) { margin, step in
      if case .convolution = step { margin + 1 } else { margin * step.factor }
    }
    return (margin + scale - 1) / scale
  }

  private static let bandHeight = 16

  /// Calls `store` with bands of rows of the result, `[rows, width, outputs]`, from any thread.
  func apply(
    _ x: FeatureMap, _ context: ForwardContext,
    store: @Sendable (_ rows: Range<Int>, _ pixels: UnsafeMutablePointer<Float>) -> Void
  ) throws {
    let highest = min(x.height, Self.bandHeight + 2 * reach)
    let largest = largestStep(pixels: highest * x.width)
    try context.map(x.height, by: Self.bandHeight, scratchCount: 2 * largest) { rows, scratch in
      let outer = max(0, rows.lowerBound - reach)..<min(x.height, rows.upperBound + reach)
      let result = run(
        x.token(outer.lowerBound * x.width), height: outer.count, width: x.width,
        scratch, scratch + largest)
      let skipped = (rows.lowerBound - outer.lowerBound) * scale * x.width * scale * outputs
      store(rows.lowerBound * scale..<rows.upperBound * scale, result + skipped)
    }
  }

  /// Returns the number of floats in the largest result of a step.
  private func largestStep(pixels: Int) -> Int {
    var (pixels, channels, largest) = (pixels, 0, 0)
    for step in steps {
      switch step {
      case .convolution(let convolution, _): channels = convolution.outputs
      case .pixelShuffle(let factor):
        pixels *= factor * factor
        channels /= factor * factor
      case .nearest(let factor): pixels *= factor * factor
      }
      largest = max(largest, pixels * channels)
    }
    return largest
  }

  /// Runs every step on a part of the image, alternating between two buffers.
  private func run(
    _ x: UnsafePointer<Float>, height: Int, width: Int, _ first: UnsafeMutablePointer<Float>,
    _ second: UnsafeMutablePointer<Float>
  ) -> UnsafeMutablePointer<Float> {
    var (input, height, width, channels) = (x, height, width, 0)
    var (output, other) = (first, second)
    for step in steps {
      switch step {
      case .convolution(let convolution, let activation):
        convolution.apply(
          height: height, width: width, rows: 0..<height, input, to: output,
          activation: activation)
        channels = convolution.outputs
      case .pixelShuffle(let factor):
        channels /= factor * factor
        shufflePixels(
          input, height: height, width: width, channels: channels, factor: factor, to: output)
      case .nearest(let factor):
        repeatPixels(
          input, height: height, width: width, channels: channels, factor: factor, to: output)
      }
      height *= step.factor
      width *= step.factor
      input = UnsafePointer(output)
      swap(&output, &other)
    }
    // The buffers have been swapped since the last step.
    return other
  }
}

extension Reconstruction.Step {
  fileprivate var factor: Int {
    switch self {
    case .convolution: 1
    case .pixelShuffle(let factor), .nearest(let factor): factor
    }
  }
}

private func shufflePixels(
  _ x: UnsafePointer<Float>, height: Int, width: Int, channels: Int, factor: Int,
  to y: UnsafeMutablePointer<Float>
) {
  let area = factor * factor
  for row in 0..<height {
    for column in 0..<width {
      let source = x + (row * width + column) * channels * area
      for i in 0..<factor {
        for j in 0..<factor {
          let target =
            y + ((row * factor + i) * width * factor + column * factor + j) * channels
          for channel in 0..<channels {
            target[channel] = source[channel * area + i * factor + j]
          }
        }
      }
    }
  }
}

private func repeatPixels(
  _ x: UnsafePointer<Float>, height: Int, width: Int, channels: Int, factor: Int,
  to y: UnsafeMutablePointer<Float>
) {
  let rowCount = width * factor * channels
  for row in 0..<height {
    let first = y + row * factor * rowCount
    for column in 0..<width * factor {
      (first + column * channels).update(
        from: x + (row * width + column / factor) * channels, count: channels)
    }
    for copy in 1..<factor { (first + copy * rowCount).update(from: first, count: rowCount) }
  }
}
