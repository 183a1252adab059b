import Storage

/// The end of a network, which turns the body's features into an image, on a tape.
struct TrainableReconstruction: Sendable {
  private enum Step {
    case convolution(TrainableLayer, slope: Float?)
    case pixelShuffle(Int)
    case nearest(Int)
  }

  private let steps: [Step]

  /// - Parameter reconstruction: the corresponding reconstruction of the engine.
  init(_ reconstruction: Reconstruction, _ finder: ParameterFinder) throws {
    // The convolutions that exist, in the order in which they are applied.
    var names = [
      "conv_before_upsample.0", "upsample.0", "upsample.2", "upsample.4", "conv_up1", "conv_up2",
      "conv_up3", "conv_hr", "conv_last",
    ].filter { finder.contains("\($0).weight") }[...]
    steps = try reconstruction.steps.map { step in
      switch step {
      case .pixelShuffle(let factor): return .pixelShuffle(factor)
      case .nearest(let factor): return .nearest(factor)
      case .convolution(_, let activation):
        guard let name = names.popFirst() else {
          throw ModelError("an upscaling convolution is missing")
        }
        return .convolution(try finder.layer(name), slope: activation.slope)
      }
    }
  }

  func run(_ x: Variable, height: Int, _ tape: Tape) -> Variable {
    var (x, height) = (x, height)
    for step in steps {
      switch step {
      case .convolution(let layer, let slope):
        x = layer.convolve(x, height: height, tape)
        if let slope { x = tape.leakyReLU(consuming: x, slope: slope) }
      case .pixelShuffle(let factor):
        x = tape.pixelShuffle(x, height: height, factor: factor)
        height *= factor
      case .nearest(let factor):
        x = tape.repeatPixels(x, height: height, factor: factor)
        height *= factor
      }
    }
    return x
  }
}

/// The end of a residual group and of the body, on a tape: one convolution, or three with leaky
/// ReLUs between them.
struct TrainableResidualConvolution: Sendable {
  private let layers: [TrainableLayer]

  init(_ name: String, _ finder: ParameterFinder) throws {
    layers =
      finder.contains("\(name).weight")
      ? [try finder.layer(name)]
      : try ["\(name).0", "\(name).2", "\(name).4"].map(finder.layer)
  }

  /// Returns `convolution(x) + residual`.
  func run(_ x: Variable, height: Int, adding residual: Variable, _ tape: Tape) -> Variable {
    var x = layers[0].convolve(x, height: height, tape)
    if layers.count == 3 {
      x = layers[1].apply(tape.leakyReLU(consuming: x, slope: 0.2), tape)
      x = tape.leakyReLU(consuming: x, slope: 0.2)
      x = layers[2].convolve(x, height: height, tape)
    }
    return tape.add(residual, consuming: x)
  }
}

extension Activation {
  /// The slope of a leaky ReLU below zero; `nil` for no activation.
  fileprivate var slope: Float? {
    switch self {
    case .none: nil
    case .leakySlope1: 0.01
    case .leakySlope20: 0.2
    }
  }
}
