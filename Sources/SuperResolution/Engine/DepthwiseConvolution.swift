import CKernels

/// A convolution of 3×3 with one filter a channel and zeros around the picture.
struct DepthwiseConvolution: Sendable {
  let channels: Int
  /// `[channels, 1, 3, 3]`.
  let weight: [Float]
  let bias: [Float]?

  init(_ weights: inout WeightReader, _ name: String, channels: Int) throws {
    self.channels = channels
    weight = try weights.values("\(name).weight", [channels, 1, 3, 3])
    bias = try weights.optionalValues("\(name).bias", [channels])
  }

  private init(channels: Int, weight: [Float], bias: [Float]?) {
    self.channels = channels
    self.weight = weight
    self.bias = bias
  }

  /// The layer followed by `normalization`.
  func folding(_ normalization: BatchNormalization) -> DepthwiseConvolution {
    let folded = normalization.folded(weight: weight, bias: bias)
    return DepthwiseConvolution(channels: channels, weight: folded.weight, bias: folded.bias)
  }

  /// Rows `rows` of the result; `x` and `y` are whole pictures of `height` × `width` pixels, with
  /// `xStride` and `yStride` floats from pixel to pixel.
  func apply(
    height: Int, width: Int, rows: Range<Int>, _ x: UnsafePointer<Float>, stride xStride: Int,
    to y: UnsafeMutablePointer<Float>, stride yStride: Int,
    epilogue: ck_epilogue = CK_EPILOGUE_NONE
  ) {
    bias.withUnsafePointerOrNull {
      ck_depthwise_convolution(
        weight, $0, channels, height, width, rows.lowerBound, rows.count, x, xStride, y, yStride,
        epilogue)
    }
  }
}
