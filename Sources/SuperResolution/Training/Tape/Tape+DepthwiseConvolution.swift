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

  /// Returns a convolution whose channels are divided into groups; `weight` is `[outputs, inputs of a
  /// group, kernel height, kernel width]`.
  ///
  /// - Parameters:
  ///   - height: the height of the image whose pixels are the rows of `x`.
  ///   - shape: that of one group.
  func convolution(
    _ x: Variable, height: Int, _ weight: ParameterReference, _ bias: ParameterReference?,
    shape: ConvolutionShape, groups: Int
  ) -> Variable {
    if shape.inputs == 1, shape.outputs == 1 {
      return depthwiseConvolution(x, height: height, weight, bias, shape: shape)
    }
    return concatenate(
      (0..<groups).map { group in
        convolution(
          columns(group * shape.inputs..<(group + 1) * shape.inputs, of: x), height: height,
          weight.part(group, of: groups), bias?.part(group, of: groups), shape: shape)
      })
  }

  /// Returns a convolution of any shape with one filter per channel; `weight` is `[channels, 1, kernel
  /// height, kernel width]`.
  ///
  /// - Parameters:
  ///   - height: the height of the image whose pixels are the rows of `x`.
  ///   - shape: that of one channel.
  func depthwiseConvolution(
    _ x: Variable, height: Int, _ weight: ParameterReference, _ bias: ParameterReference?,
    shape: ConvolutionShape
  ) -> Variable {
    guard !shape.isSimple else { return depthwiseConvolution(x, height: height, weight, bias) }
    let patches = PatchMatrix(shape, height: height, width: x.rows / height)
    let (channels, taps) = (x.columns, patches.tapCount)
    let rows = patches.size.height * patches.size.width
    precondition(height * patches.width == x.rows && weight.count == taps * channels && rows > 0)
    let isWanted = gradient(weight) != nil || bias.map { gradient($0) != nil } ?? false
    let y = result(rows: rows, columns: channels, needsGradient: x.needsGradient || isWanted)
    if bias == nil { y.values.update(repeating: 0, count: y.count) }
    spread(bias, rows: rows, columns: channels, to: y.values)
    /// Calls `body` with the first elements of every pixel of the result, of what a tap takes there,
    /// and of the tap's weights in `[taps, channels]`.
    func forEachProduct(_ body: (_ result: Int, _ source: Int, _ filter: Int) -> Void) {
      patches.forEachTap(0..<patches.size.height) { pixel, place in
        guard let pixel else { return }
        body(place / taps * channels, pixel * channels, place % taps * channels)
      }
    }
    func transpose(to filters: UnsafeMutablePointer<Float>) {
      let values = values(weight)
      for channel in 0..<channels {
        for tap in 0..<taps { filters[tap * channels + channel] = values[channel * taps + tap] }
      }
    }
    pool.withScratch(weight.count) { filters in
      transpose(to: filters)
      forEachProduct { result, source, filter in
        let (target, x, w) = (y.values + result, x.values + source, filters + filter)
        for channel in 0..<channels { target[channel] += x[channel] * w[channel] }
      }
    }
    record(y) { [self] gradient in
      addColumnSums(of: gradient.pointer, rows: rows, columns: channels, to: bias)
      pool.withScratch(weight.count) { filters in
        if let target = self.gradient(weight) {
          filters.update(repeating: 0, count: weight.count)
          forEachProduct { result, source, filter in
            let (g, x, sums) = (gradient.pointer + result, x.values + source, filters + filter)
            for channel in 0..<channels { sums[channel] += g[channel] * x[channel] }
          }
          for channel in 0..<channels {
            for tap in 0..<taps {
              target[channel * taps + tap] += filters[tap * channels + channel]
            }
          }
        }
        guard x.needsGradient else { return }
        transpose(to: filters)
        let dx = x.gradientToAddTo(pool).pointer
        forEachProduct { result, source, filter in
          let (g, target, w) = (gradient.pointer + result, dx + source, filters + filter)
          for channel in 0..<channels { target[channel] += g[channel] * w[channel] }
        }
      }
    }
    return y
  }
}
