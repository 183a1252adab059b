import Foundation

/// How near a picture is to the original, by the two numbers that the field reports.
public enum PictureFidelity {
  /// The mean of squared differences.
  ///
  /// - Precondition: the planes have the same size.
  public static func meanSquaredError(_ a: LumaPlane, _ b: LumaPlane) -> Double {
    precondition(a.height == b.height && a.width == b.width, "the planes differ in size")
    var sum = 0.0
    for index in a.samples.indices {
      let difference = a.samples[index] - b.samples[index]
      sum += difference * difference
    }
    return sum / Double(a.samples.count)
  }

  /// The peak signal-to-noise ratio `10 · log₁₀(255² / mean squared error)` in dB; infinite for equal
  /// planes.
  public static func peakSignalToNoise(_ a: LumaPlane, _ b: LumaPlane) -> Double {
    peakSignalToNoise(meanSquaredError: meanSquaredError(a, b))
  }

  static func peakSignalToNoise(meanSquaredError: Double) -> Double {
    10 * log10(255 * 255 / meanSquaredError)
  }

  /// The side of the window that `structuralSimilarity` needs, in pixels.
  public static let windowSide = 11

  /// The mean structural similarity index (SSIM), 1 for equal planes.
  ///
  /// An 11×11 Gaussian window of σ 1.5 wherever it fits, K₁ = 0.01, K₂ = 0.03, L = 255, as Z. Wang,
  /// A. Bovik, H. Sheikh, E. Simoncelli, "Image quality assessment: from error visibility to structural
  /// similarity", IEEE Transactions on Image Processing 13(4), 2004, equation 13.
  ///
  /// - Precondition: the planes have the same size, of at least `windowSide` both ways.
  public static func structuralSimilarity(_ a: LumaPlane, _ b: LumaPlane) -> Double {
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

  /// `(K · L)²` of the paper, with L = 255.
  private static func stabilizer(_ k: Double) -> Double { k * 255 * k * 255 }
}

/// The window of SSIM, applied down the columns and then along the rows: a Gaussian is a product.
private struct GaussianWindow {
  let weights: [Double]

  init() {
    let radius = PictureFidelity.windowSide / 2
    let raw = (-radius...radius).map { exp(-Double($0 * $0) / (2 * 1.5 * 1.5)) }
    let sum = raw.reduce(0, +)
    weights = raw.map { $0 / sum }
  }

  /// Means wherever the window fits: `(height − 10) · (width − 10)` of them.
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
