/// The end of a residual group and of the body: one convolution, or three with a narrow middle
/// (`1conv` and `3conv` of the original programs), added to a residual.
enum ResidualConvolution: Sendable {
  case single(ConvolutionLayer)
  /// A leaky ReLU of slope 0.2 follows each of the first two.
  case bottleneck(ConvolutionLayer, LinearLayer, ConvolutionLayer)

  init(_ weights: inout WeightReader, _ name: String, channels: Int) throws {
    guard !weights.contains("\(name).weight"), weights.contains("\(name).0.weight") else {
      self = .single(
        try ConvolutionLayer(&weights, name, outputs: channels, inputs: channels))
      return
    }
    let narrow = max(1, channels / 4)
    self = .bottleneck(
      try ConvolutionLayer(&weights, "\(name).0", outputs: narrow, inputs: channels),
      try LinearLayer(
        &weights, "\(name).2", outputs: narrow, inputs: narrow, isConvolution: true),
      try ConvolutionLayer(&weights, "\(name).4", outputs: channels, inputs: narrow))
  }

  /// The distance, in pixels, from which the layers carry a value.
  var reach: Int {
    switch self {
    case .single: 1
    case .bottleneck: 2
    }
  }

  /// Computes `y = convolution(x) + residual`; `y` may be `residual`.
  func apply(
    _ x: FeatureMap, to y: FeatureMap, residual: FeatureMap, _ context: ForwardContext
  ) throws {
    switch self {
    case .single(let convolution):
      try convolution.apply(x, to: y, residual: residual, context)
    case .bottleneck(let first, let middle, let last):
      let narrow = FeatureMap(height: x.height, width: x.width, channels: first.outputs)
      let mixed = FeatureMap(height: x.height, width: x.width, channels: middle.outputs)
      try first.apply(x, to: narrow, activation: .leakySlope20, context)
      try context.map(x.tokenCount, by: 4096, scratchCount: 0) { tokens, _ in
        let result = mixed.token(tokens.lowerBound)
        middle.apply(
          rows: tokens.count, narrow.token(tokens.lowerBound), stride: narrow.channels,
          to: result, stride: mixed.channels)
        Activation.leakySlope20.apply(result, count: tokens.count * mixed.channels)
      }
      try last.apply(mixed, to: y, residual: residual, context)
    }
  }
}
