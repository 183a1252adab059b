import CKernels

/// A 3×3 convolution with one filter per channel, with zero padding and channels last.
struct DepthwiseConvolution: Sendable {
  let channels: Int
  private let weight: [Float]
  private let bias: [Float]

  /// - Parameters:
  ///   - weight: `[channels, 1, 3, 3]`, row-major.
  ///   - bias: `[channels]`; `nil` for no bias.
  init(weight: [Float], bias: [Float]?, channels: Int) {
    precondition(weight.count == channels * 9 && (bias?.count ?? channels) == channels)
    self.channels = channels
    self.weight = weight
    self.bias = bias ?? [Float](repeating: 0, count: channels)
  }

  /// Computes some rows of the output.
  ///
  /// - Parameters:
  ///   - rows: the rows to compute, inside `0..<height`.
  ///   - x: the whole image, whose pixels are `xStride` elements apart.
  ///   - y: the whole output, whose pixels are `yStride` elements apart.
  ///   - epilogue: any epilogue except `add`.
  func apply(
    height: Int, width: Int, rows: Range<Int>, _ x: UnsafePointer<Float>, stride xStride: Int,
    to y: UnsafeMutablePointer<Float>, stride yStride: Int, then epilogue: Epilogue = .none
  ) {
    let (kind, residual, _) = epilogue.parts
    precondition(rows.lowerBound >= 0 && rows.upperBound <= height && residual == nil)
    ck_depthwise_convolution(
      weight, bias, channels, height, width, rows.lowerBound, rows.count, x, xStride, y, yStride,
      kind)
  }
}
