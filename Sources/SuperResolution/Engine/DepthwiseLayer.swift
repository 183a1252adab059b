/// A 3×3 convolution with one filter per channel and zero padding.
struct DepthwiseLayer: Sendable {
  let channels: Int
  /// `[channels, 1, 3, 3]`.
  let weight: [Float]
  let bias: [Float]?
  private let kernel: DepthwiseConvolution

  init(_ weights: inout WeightReader, _ name: String, channels: Int) throws {
    self.init(
      channels: channels, weight: try weights.values("\(name).weight", [channels, 1, 3, 3]),
      bias: try weights.values("\(name).bias", [channels]))
  }

  private init(channels: Int, weight: [Float], bias: [Float]?) {
    self.channels = channels
    self.weight = weight
    self.bias = bias
    kernel = DepthwiseConvolution(weight: weight, bias: bias, channels: channels)
  }

  /// Returns this layer with `normalization` after it folded in.
  func folding(_ normalization: BatchNormalization) -> DepthwiseLayer {
    let folded = normalization.folded(weight: weight, bias: bias)
    return DepthwiseLayer(channels: channels, weight: folded.weight, bias: folded.bias)
  }

  /// Computes `rows` of the result; `x` and `y` are whole images of `height` × `width` pixels,
  /// whose pixels are `xStride` and `yStride` floats apart.
  func apply(
    height: Int, width: Int, rows: Range<Int>, _ x: UnsafePointer<Float>, stride xStride: Int,
    to y: UnsafeMutablePointer<Float>, stride yStride: Int,
    then epilogue: Epilogue = .none
  ) {
    kernel.apply(
      height: height, width: width, rows: rows, x, stride: xStride, to: y, stride: yStride,
      then: epilogue)
  }
}
