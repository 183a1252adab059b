/// Layer normalization over a row's values, with PyTorch's epsilon of 10⁻⁵.
struct NormalizationLayer: Sendable {
  let scale: [Float]
  let offset: [Float]
  private let kernel: LayerNormalization

  init(_ weights: inout WeightReader, _ name: String, channels: Int) throws {
    scale = try weights.values("\(name).weight", [channels])
    offset = try weights.values("\(name).bias", [channels])
    kernel = LayerNormalization(gamma: scale, beta: offset)
  }

  /// Normalizes `rows` rows; `y` may be `x`.
  func apply(
    rows: Int, _ x: UnsafePointer<Float>, stride xStride: Int,
    to y: UnsafeMutablePointer<Float>, stride yStride: Int
  ) {
    kernel.apply(rows: rows, x, stride: xStride, to: y, stride: yStride)
  }

  /// Normalizes all pixels of a map; `y` may be `x`.
  func apply(_ x: FeatureMap, to y: FeatureMap, _ context: ForwardContext) throws {
    try context.map(x.tokenCount, by: 1024, scratchCount: 0) { tokens, _ in
      apply(
        rows: tokens.count, x.token(tokens.lowerBound), stride: x.channels,
        to: y.token(tokens.lowerBound), stride: y.channels)
    }
  }
}

/// Batch normalization with the statistics of training, which amounts to one scale and one offset
/// per channel.
struct BatchNormalization: Sendable {
  let scale: [Float]
  let offset: [Float]

  init(_ weights: inout WeightReader, _ name: String, channels: Int) throws {
    let weight = try weights.values("\(name).weight", [channels])
    let bias = try weights.values("\(name).bias", [channels])
    let mean = try weights.values("\(name).running_mean", [channels])
    let variance = try weights.values("\(name).running_var", [channels])
    let scale = zip(weight, variance).map { $0 / ($1 + 1e-5).squareRoot() }
    self.scale = scale
    offset = (0..<channels).map { bias[$0] - mean[$0] * scale[$0] }
  }

  /// Returns the weight and the bias of a layer with the normalization after it folded in. The
  /// first axis of the weight is the channels.
  func folded(weight: [Float], bias: [Float]?) -> (weight: [Float], bias: [Float]) {
    let inputs = weight.count / scale.count
    return (
      weight.indices.map { weight[$0] * scale[$0 / inputs] },
      scale.indices.map { (bias?[$0] ?? 0) * scale[$0] + offset[$0] }
    )
  }
}
