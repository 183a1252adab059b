/// A fully connected layer, or a 1×1 convolution: `y = W x + b` for every row.
struct LinearLayer: Sendable {
  let outputs: Int
  let inputs: Int
  /// `[outputs, inputs]`.
  let weight: [Float]
  let bias: [Float]?
  /// The same weights in the kernels' order.
  private let kernel: Linear

  init(outputs: Int, inputs: Int, weight: [Float], bias: [Float]?) {
    self.outputs = outputs
    self.inputs = inputs
    self.weight = weight
    self.bias = bias
    kernel = Linear(weight: weight, bias: bias, outputs: outputs, inputs: inputs)
  }

  /// - Parameters:
  ///   - isConvolution: whether the weight has two more axes of length 1.
  ///   - mayLackBias: whether the bias is optional.
  init(
    _ weights: inout WeightReader, _ name: String, outputs: Int, inputs: Int,
    isConvolution: Bool = false, mayLackBias: Bool = false
  ) throws {
    self.init(
      outputs: outputs, inputs: inputs,
      weight: try weights.values(
        "\(name).weight", isConvolution ? [outputs, inputs, 1, 1] : [outputs, inputs]),
      bias: mayLackBias && !weights.contains("\(name).bias")
        ? nil : try weights.values("\(name).bias", [outputs]))
  }

  /// Returns this layer with `normalization` after it folded in.
  func folding(_ normalization: BatchNormalization) -> LinearLayer {
    let folded = normalization.folded(weight: weight, bias: bias)
    return LinearLayer(
      outputs: outputs, inputs: inputs, weight: folded.weight, bias: folded.bias)
  }

  /// Applies the layer to rows; `y` may be the epilogue's residual, but not `x`. Strides count
  /// floats from row to row.
  func apply(
    rows: Int, _ x: UnsafePointer<Float>, stride xStride: Int,
    to y: UnsafeMutablePointer<Float>, stride yStride: Int,
    then epilogue: Epilogue = .none
  ) {
    kernel.apply(rows: rows, x, stride: xStride, to: y, stride: yStride, then: epilogue)
  }
}
