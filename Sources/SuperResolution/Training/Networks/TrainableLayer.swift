/// A linear layer or a convolution.
struct TrainableLayer: Sendable {
  let weight: ParameterReference
  let bias: ParameterReference?
  let outputs: Int
  /// The site at which the input is quantized; `nil` for layers without a site.
  let site: Int?

  /// Applies the layer as a linear layer, to its quantized input.
  func apply(_ x: Variable, _ tape: Tape) -> Variable {
    let input = site.map { tape.quantize(x, at: $0) } ?? x
    return tape.linear(input, weight, bias, outputs: outputs)
  }

  /// Applies the layer as a 3×3 convolution.
  func convolve(_ x: Variable, height: Int, _ tape: Tape) -> Variable {
    tape.convolution(x, height: height, weight, bias, outputs: outputs)
  }

  /// Applies the layer as a depthwise 3×3 convolution.
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
