import CKernels

extension Tape {
  /// Returns a 3×3 convolution with one filter per channel and zero padding of 1; `weight` is
  /// `[channels, 1, 3, 3]`.
  ///
  /// - Parameter height: the height of the image whose pixels are the rows of `x`.
  func depthwiseConvolution(
    _ x: Variable, height: Int, _ weight: ParameterReference, _ bias: ParameterReference?
  ) -> Variable {
    let (channels, width) = (x.columns, x.rows / height)
    precondition(height * width == x.rows && weight.count == 9 * channels)
    let isWanted = gradient(weight) != nil || bias.map { gradient($0) != nil } ?? false
    let y = result(rows: x.rows, columns: channels, needsGradient: x.needsGradient || isWanted)
    ck_depthwise_convolution(
      values(weight), bias.map { values($0) }, channels, height, width, 0, height, x.values,
      channels, y.values, channels, CK_EPILOGUE_NONE)
    record(y) { [self] gradient in
      addColumnSums(of: gradient.pointer, rows: x.rows, columns: channels, to: bias)
      if let target = self.gradient(weight) {
        ck_depthwise_weight_gradient(
          channels, height, width, x.values, gradient.pointer, target)
      }
      guard x.needsGradient else { return }
      // The gradient of the input is the convolution with the filters reversed.
      let dx = pool.take(x.count)
      pool.withScratch(9 * channels) { turned in
        for channel in 0..<channels {
          for tap in 0..<9 {
            turned[channel * 9 + tap] = values(weight)[channel * 9 + 8 - tap]
          }
        }
        ck_depthwise_convolution(
          turned, nil, channels, height, width, 0, height, gradient.pointer, channels, dx.pointer,
          channels, CK_EPILOGUE_NONE)
      }
      x.add(gradient: dx)
    }
    return y
  }
}
