import Glibc

/// The similarity of an image to a reference, by the two metrics that the field reports.
package enum ImageFidelity {
  /// Returns the mean of the squared differences.
  ///
  /// - Precondition: The planes have the same size.
  package static func meanSquaredError(_ a: LumaPlane, _ b: LumaPlane) -> Double {
    precondition(a.height == b.height && a.width == b.width, "the planes differ in size")
    var sum = 0.0
    for index in a.samples.indices {
      let difference = a.samples[index] - b.samples[index]
      sum += difference * difference
    }
    return sum / Double(a.samples.count)
  }

  /// Returns the peak signal-to-noise ratio `10 · log₁₀(255² / mean squared error)` in dB, which is
  /// infinite for equal planes.
  package static func peakSignalToNoise(_ a: LumaPlane, _ b: LumaPlane) -> Double {
    peakSignalToNoise(meanSquaredError: meanSquaredError(a, b))
  }

  package static func peakSignalToNoise(meanSquaredError: Double) -> Double {
    10 * log10(255 * 255 / meanSquaredError)
  }

  /// The side of the window of `structuralSimilarity`, in pixels.
  package static let windowSide = 11

  /// Returns the mean structural similarity index (SSIM), 1 for equal planes.
  ///
  /// An 11×11 Gaussian window of σ 1.5 is placed wherever it fits, with K₁ = 0.01, K₂ = 0.03 and
  /// L = 255, as in Z. Wang, A. Bovik, H. Sheikh, E. Simoncelli, "Image quality assessment: from
  /// error visibility to structural similarity", IEEE Transactions on Image Processing 13(4), 2004,
  /// equation 13.
  ///
  /// - Precondition: The planes have the same size, at least `windowSide` in both directions.
  package static func structuralSimilarity(_ a: LumaPlane, _ b: LumaPlane) -> Double {
    precondition(a.height == b.height && a.width == b.width, "the planes differ in size")
    precondition(
      a.height >= windowSide && a.width >= windowSide, "the planes are smaller than the window")
    let (c1, c2) = (stabilizer(0.01), stabilizer(0.03))
    let window = GaussianWindow()
    let meanA = window.filtered(a.samples, height: a.height, width: a.width)
    let meanB = window.filtered(b.samples, height: a.height, width: a.width)
    func product(_ x: LumaPlane, _ y: LumaPlane) -> [Double] {
      let products = zip(x.samples, y.samples).map { $0 * $1 }
      return window.filtered(products, height: x.height, width: x.width)
    }
    let (squareA, squareB, cross) = (product(a, a), product(b, b), product(a, b))
    var sum = 0.0
    for index in meanA.indices {
      let (muA, muB) = (meanA[index], meanB[index])
      let varianceA = squareA[index] - muA * muA
      let varianceB = squareB[index] - muB * muB
      let covariance = cross[index] - muA * muB
      sum +=
        (2 * muA * muB + c1) * (2 * covariance + c2)
        / ((muA * muA + muB * muB + c1) * (varianceA + varianceB + c2))
    }
    return sum / Double(meanA.count)
  }

  /// Returns the paper's `(K · L)²` with L = 255.
  private static func stabilizer(_ k: Double) -> Double { k * 255 * k * 255 }
}

/// SSIM's Gaussian window, which is separable: it is applied along the columns, then along the
/// rows.
private struct GaussianWindow {
  let weights: [Double]

  init() {
    let radius = ImageFidelity.windowSide / 2
    let raw = (-radius...radius).map { exp(-Double($0 * $0) / (2 * 1.5 * 1.5)) }
    let sum = raw.reduce(0, +)
    weights = raw.map { $0 / sum }
  }

  /// Returns the weighted means wherever the window fits: `(height − 10) · (width − 10)` values.
  func filtered(_ plane: [Double], height: Int, width: Int) -> [Double] {
    let side = weights.count
    let (rows, columns) = (height - side + 1, width - side + 1)
    var tall = [Double](repeating: 0, count: rows * width)
    var result = [Double](repeating: 0, count: rows * columns)
    plane.withUnsafeBufferPointer { source in
      tall.withUnsafeMutableBufferPointer { target in
        for row in 0..<rows {
          for (tap, weight) in weights.enumerated() {
            for x in 0..<width {
              target[row * width + x] += weight * source[(row + tap) * width + x]
            }
          }
        }
      }
    }
    tall.withUnsafeBufferPointer { source in
      result.withUnsafeMutableBufferPointer { target in
        for row in 0..<rows {
          for (tap, weight) in weights.enumerated() {
            for x in 0..<columns {
              target[row * columns + x] += weight * source[row * width + x + tap]
            }
          }
        }
      }
    }
    return result
  }
}

/// The luma of an image, on which super-resolution is evaluated.
///
/// `Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255` for 8-bit samples, not rounded (ITU-R
/// BT.601's studio range, as in BasicSR and the papers that build on it). A grey image counts as
/// three equal channels, because those programs read it that way; scripts that use the grey samples
/// directly report 20 · log₁₀(255/219) = 1.32 dB less.
package struct LumaPlane: Hashable, Sendable {
  /// The number of rows.
  package let height: Int
  /// The number of columns.
  package let width: Int
  /// The samples in row-major order, from 16 for black to 235 for white.
  package private(set) var samples: [Double]

  package init(height: Int, width: Int, samples: [Double]) {
    self.height = height
    self.width = width
    self.samples = samples
  }

  /// Computes the luma of `image`, converted to 8 bits per sample, without alpha.
  package init(of image: RasterImage) {
    let image = image.asEightBit
    let stride = image.channelCount
    let count = image.width * image.height
    height = image.height
    width = image.width
    let isGrey = image.colorChannelCount == 1
    samples = image.samples.withUnsafeBufferPointer { source in
      [Double](unsafeUninitializedCapacity: count) { target, filled in
        for pixel in 0..<count {
          let red = Double(source[pixel * stride])
          let green = isGrey ? red : Double(source[pixel * stride + 1])
          let blue = isGrey ? red : Double(source[pixel * stride + 2])
          target[pixel] = 16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255
        }
        filled = count
      }
    }
  }

  /// Returns the plane without `border` rows and columns on every side, or `nil` if nothing
  /// remains.
  package func trimmed(by border: Int) -> LumaPlane? {
    precondition(border >= 0, "a border is no negative width")
    guard border > 0 else { return self }
    guard height > 2 * border, width > 2 * border else { return nil }
    return part(
      x: border, y: border, width: width - 2 * border, height: height - 2 * border)
  }

  /// Returns a part of the plane.
  ///
  /// - Precondition: The part lies inside the plane.
  package func part(x: Int, y: Int, width: Int, height: Int) -> LumaPlane {
    var part: [Double] = []
    part.reserveCapacity(width * height)
    for row in y..<y + height {
      part += samples[row * self.width + x..<row * self.width + x + width]
    }
    return LumaPlane(height: height, width: width, samples: part)
  }
}
