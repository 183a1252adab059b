extension Tape {
  /// A 3×3 convolution of each channel by a filter of its own with zero padding 1, `weight`
  /// `[channels, 1, 3, 3]`.
  ///
  /// - Parameter height: rows of the picture that the rows of `x` are the pixels of.
  func depthwiseConvolution(
    _ x: Variable, height: Int, _ weight: ParameterReference, _ bias: ParameterReference?
  ) -> Variable {
    let (channels, width) = (x.columns, x.rows / height)
    precondition(height * width == x.rows && weight.count == 9 * channels)
    let isWanted = gradient(weight) != nil || bias.map { gradient($0) != nil } ?? false
    let y = result(rows: x.rows, columns: channels, needsGradient: x.needsGradient || isWanted)
    if bias == nil { y.values.update(repeating: 0, count: y.count) }
    spread(bias, rows: x.rows, columns: channels, to: y.values)
    pool.withScratch(9 * channels) { taps in
      for channel in 0..<channels {
        for tap in 0..<9 { taps[tap * channels + channel] = values(weight)[channel * 9 + tap] }
      }
      forEachTap(height: height, width: width) { tap, token, neighbour in
        let filter = taps + tap * channels
        let (source, target) = (x.values + neighbour * channels, y.values + token * channels)
        for channel in 0..<channels { target[channel] += filter[channel] * source[channel] }
      }
    }
    record(y) { [self] gradient in
      addColumnSums(of: gradient.pointer, rows: x.rows, columns: channels, to: bias)
      let dWeight = self.gradient(weight)
      let dx = x.needsGradient ? pool.takeZeros(x.count) : nil
      pool.withScratch(18 * channels) { scratch in
        let (taps, sums) = (scratch, scratch + 9 * channels)
        for channel in 0..<channels {
          for tap in 0..<9 { taps[tap * channels + channel] = values(weight)[channel * 9 + tap] }
        }
        sums.update(repeating: 0, count: 9 * channels)
        forEachTap(height: height, width: width) { tap, token, neighbour in
          let g = gradient.pointer + token * channels
          if let target = dx.map({ $0.pointer + neighbour * channels }) {
            let filter = taps + tap * channels
            for channel in 0..<channels { target[channel] += filter[channel] * g[channel] }
          }
          if dWeight != nil {
            let (sum, source) = (sums + tap * channels, x.values + neighbour * channels)
            for channel in 0..<channels { sum[channel] += source[channel] * g[channel] }
          }
        }
        if let dWeight {
          for channel in 0..<channels {
            for tap in 0..<9 { dWeight[channel * 9 + tap] += sums[tap * channels + channel] }
          }
        }
      }
      if let dx { x.add(gradient: dx) }
    }
    return y
  }
}

/// Calls `body` for every pixel and every neighbour of it that is in the picture.
@inline(__always)
private func forEachTap(
  height: Int, width: Int, _ body: (_ tap: Int, _ token: Int, _ neighbour: Int) -> Void
) {
  for row in 0..<height {
    for tap in 0..<9 {
      let (other, shift) = (row + tap / 3 - 1, tap % 3 - 1)
      guard other >= 0, other < height else { continue }
      for column in max(0, -shift)..<max(max(0, -shift), min(width, width - shift)) {
        body(tap, row * width + column, other * width + column + shift)
      }
    }
  }
}
