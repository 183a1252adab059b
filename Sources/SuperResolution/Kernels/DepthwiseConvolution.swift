import CKernels

/// A 3×3 convolution of each channel by a filter of its own, with zero padding, channels last.
struct DepthwiseConvolution: Sendable {
  let channels: Int
  private let weight: [Float]
  private let bias: [Float]

  /// - Parameters:
  ///   - weight: `[channels, 1, 3, 3]`, row-major.
  ///   - bias: `[channels]`, or nil for none.
  init(weight: [Float], bias: [Float]?, channels: Int) {
    precondition(weight.count == channels * 9 && (bias?.count ?? channels) == channels)
    self.channels = channels
    self.weight = weight
    self.bias = bias ?? [Float](repeating: 0, count: channels)
  }

  /// Computes some rows of the output.
  ///
  /// - Parameters:
  ///   - rows: which rows of the output, inside `0..<height`.
  ///   - x: the whole picture, whose pixels lie `xStride` elements apart.
  ///   - y: the whole output, whose pixels lie `yStride` elements apart.
  ///   - epilogue: anything but `add`.
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
