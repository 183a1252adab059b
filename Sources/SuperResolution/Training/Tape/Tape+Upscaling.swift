extension Tape {
  /// Applies PyTorch's `PixelShuffle`: channel `(c·r + i)·r + j` becomes row `i`, column `j` of
  /// channel `c`.
  ///
  /// - Parameter height: the height of the image whose pixels are the rows of `x`.
  func pixelShuffle(_ x: Variable, height: Int, factor: Int) -> Variable {
    let (width, area) = (x.rows / height, factor * factor)
    let channels = x.columns / area
    precondition(height * width == x.rows && channels * area == x.columns)
    let y = result(rows: x.rows * area, columns: channels, needsGradient: x.needsGradient)
    forEachPixel(height: height, width: width, factor: factor) { token, i, j, target in
      let source = x.values + token * x.columns + i * factor + j
      for channel in 0..<channels {
        y.values[target * channels + channel] = source[channel * area]
      }
    }
    record(y) { [pool] gradient in
      let dx = pool.take(x.count)
      forEachPixel(height: height, width: width, factor: factor) { token, i, j, source in
        let target = dx.pointer + token * x.columns + i * factor + j
        for channel in 0..<channels {
          target[channel * area] = gradient.pointer[source * channels + channel]
        }
      }
      x.add(gradient: dx)
    }
    return y
  }

  /// Repeats each pixel to `factor` × `factor` pixels.
  func repeatPixels(_ x: Variable, height: Int, factor: Int) -> Variable {
    let (width, channels) = (x.rows / height, x.columns)
    precondition(height * width == x.rows)
    let y = result(
      rows: x.rows * factor * factor, columns: channels, needsGradient: x.needsGradient)
    forEachPixel(height: height, width: width, factor: factor) { token, _, _, target in
      (y.values + target * channels).update(from: x.values + token * channels, count: channels)
    }
    record(y) { [pool] gradient in
      let dx = pool.takeZeros(x.count)
      forEachPixel(height: height, width: width, factor: factor) { token, _, _, source in
        let (sum, g) = (dx.pointer + token * channels, gradient.pointer + source * channels)
        for channel in 0..<channels { sum[channel] += g[channel] }
      }
      x.add(gradient: dx)
    }
    return y
  }
}

/// Calls `body` with every pixel, and every place in its block, with the number of the pixel there.
@inline(__always)
private func forEachPixel(
  height: Int, width: Int, factor: Int,
  _ body: (_ token: Int, _ i: Int, _ j: Int, _ upscaled: Int) -> Void
) {
  for row in 0..<height {
    for column in 0..<width {
      for i in 0..<factor {
        for j in 0..<factor {
          body(
            row * width + column, i, j,
            (row * factor + i) * width * factor + column * factor + j)
        }
      }
    }
  }
}
