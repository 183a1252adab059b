import CKernels

/// DAT's adaptive interaction module, which runs beside each attention: a convolution of the
/// values, and two maps by which the branches weigh each other (Chen et al. 2023, "Dual Aggregation
/// Transformer").
///
/// A spatial map, one number per token, comes from one branch and weighs the other. A channel map,
/// one number per channel from the averages over the image, goes the other way.
struct AdaptiveInteraction: Sendable {
  /// The convolution with its normalization folded in; a GELU follows.
  let convolution: DepthwiseLayer
  /// The first layer with its normalization folded in, followed by a GELU, and the second layer.
  let channelMap: (squeeze: LinearLayer, excite: LinearLayer)
  let spatialMap: (squeeze: LinearLayer, excite: LinearLayer)

  init(_ weights: inout WeightReader, _ name: String, channels: Int) throws {
    convolution = try DepthwiseLayer(&weights, "\(name).dwconv.0", channels: channels)
      .folding(BatchNormalization(&weights, "\(name).dwconv.1", channels: channels))
    channelMap = try Self.map(
      &weights, "\(name).channel_interaction", first: 1, inputs: channels, outputs: channels)
    spatialMap = try Self.map(
      &weights, "\(name).spatial_interaction", first: 0, inputs: channels, outputs: 1)
  }

  private static func map(
    _ weights: inout WeightReader, _ name: String, first: Int, inputs: Int, outputs: Int
  ) throws -> (squeeze: LinearLayer, excite: LinearLayer) {
    let width = try weights.dimensions(of: "\(name).\(first).weight", rank: 4)[0]
    let squeeze = try LinearLayer(
      &weights, "\(name).\(first)", outputs: width, inputs: inputs, isConvolution: true)
    let norm = try BatchNormalization(&weights, "\(name).\(first + 1)", channels: width)
    let excite = try LinearLayer(
      &weights, "\(name).\(first + 3)", outputs: outputs, inputs: width, isConvolution: true)
    return (squeeze.folding(norm), excite)
  }

  /// Returns one weight from 0 to 1 per channel, from the channels' averages.
  func channelWeights(of averages: [Float]) -> [Float] {
    var weights = [Float](repeating: 0, count: channelMap.excite.outputs)
    var squeezed = [Float](repeating: 0, count: channelMap.squeeze.outputs)
    Self.apply(channelMap, rows: 1, averages, stride: averages.count, &squeezed, to: &weights)
    return weights
  }

  /// Floats of scratch memory that `spatialWeights` needs per row.
  var spatialScratchCount: Int { spatialMap.squeeze.outputs }

  /// Writes one weight from 0 to 1 per row.
  func spatialWeights(
    rows: Int, _ x: UnsafePointer<Float>, stride: Int, scratch: UnsafeMutablePointer<Float>,
    to weights: UnsafeMutablePointer<Float>
  ) {
    Self.apply(spatialMap, rows: rows, x, stride: stride, scratch, to: weights)
  }

  private static func apply(
    _ map: (squeeze: LinearLayer, excite: LinearLayer), rows: Int, _ x: UnsafePointer<Float>,
    stride: Int, _ scratch: UnsafeMutablePointer<Float>, to weights: UnsafeMutablePointer<Float>
  ) {
    map.squeeze.apply(
      rows: rows, x, stride: stride, to: scratch, stride: map.squeeze.outputs,
      then: .gelu)
    map.excite.apply(
      rows: rows, scratch, stride: map.squeeze.outputs, to: weights, stride: map.excite.outputs)
    ck_sigmoid(weights, rows * map.excite.outputs)
  }
}
