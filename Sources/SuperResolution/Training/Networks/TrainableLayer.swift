/// A linear layer or a convolution.
struct TrainableLayer: Sendable {
  let weight: ParameterReference
  let bias: ParameterReference?
  let outputs: Int
  /// Where its input is rounded, for layers of the body.
  let site: Int?

  /// As a linear layer, of its rounded input.
  func apply(_ x: Variable, _ tape: Tape) -> Variable {
    let input = site.map { tape.quantize(x, at: $0) } ?? x
    return tape.linear(input, weight, bias, outputs: outputs)
  }

  /// As a convolution of 3×3.
  func convolve(_ x: Variable, height: Int, _ tape: Tape) -> Variable {
    tape.convolution(x, height: height, weight, bias, outputs: outputs)
  }

  /// As a convolution of each channel.
  func convolveChannels(_ x: Variable, height: Int, _ tape: Tape) -> Variable {
    tape.depthwiseConvolution(x, height: height, weight, bias)
  }
}

/// The scale and the offset of a layer normalization.
struct TrainableNorm: Sendable {
  let scale: ParameterReference
  let offset: ParameterReference

  func apply(_ x: Variable, _ tape: Tape) -> Variable {
    tape.layerNormalization(x, scale, offset)
  }
}
