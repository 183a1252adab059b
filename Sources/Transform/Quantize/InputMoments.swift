import Formats
import Glibc
import LinearAlgebra

/// Second moments of a layer's input `x` and of the quantized input, `x̂ = Q(x)`.
///
/// If the layer has a bias, they are taken about the means, because the bias compensates for the
/// error of the means; otherwise they are taken about zero.
struct InputMoments: Sendable {
  /// `E[xxᵀ]`, or the covariance.
  let plain: Matrix
  /// `E[xx̂ᵀ]`.
  let cross: Matrix
  /// `E[x̂x̂ᵀ]`.
  let quantized: Matrix
  /// `E[x]` and `E[x̂]`.
  let mean: [Double]
  let quantizedMean: [Double]
  /// Whether inputs vary by more than rounding in single precision; always true if moments are
  /// taken about zero.
  let varies: Bool

  /// - Parameters:
  ///   - activation: the input's quantizer; `nil` if inputs are not quantized, in which case
  ///     `x̂ = x`.
  ///   - isCentered: whether moments are taken about the means.
  /// - Returns: `nil` without moments of the input.
  init?(_ site: SiteStatistics, activation: ActivationQuantizer?, isCentered: Bool) {
    guard let moments = site.moments else { return nil }
    mean = moments.mean
    let covariance = moments.second.subtracting(moments.mean, moments.mean)
    let centered: (cross: Matrix, quantized: Matrix)
    if let activation {
      if let images = site.quantized[activation.bitWidth], images.lower == activation.lower,
        images.upper == activation.upper, images.scaling == activation.scaling
      {
        quantizedMean = images.mean
        centered = (
          images.cross.subtracting(mean, images.mean),
          images.second.subtracting(images.mean, images.mean)
        )
      } else {
        if let rows = site.rows, activation.scaling != .tensor {
          let gain = rows.gain(activation.code, count: site.count)
          // The gain describes values about zero; the mean itself is closer to the quantized mean.
          quantizedMean = mean
          centered = (
            covariance.scaled(by: gain.factor),
            covariance.scaled(by: gain.factor * gain.factor).addingToDiagonal(gain.noise)
          )
        } else {
          let estimate = QuantizedGaussian(
            mean: mean, covariance: covariance, code: activation.code)
          quantizedMean = estimate.mean
          centered = (estimate.cross, estimate.covariance)
        }
      }
    } else {
      quantizedMean = mean
      centered = (covariance, covariance)
    }
    let energies = moments.second.diagonal
    let largest = energies.max() ?? 0
    varies =
      !isCentered
      || zip(covariance.diagonal, energies).contains { variance, energy in
        // A thousandth of the column's own values, and a millionth of the largest column's.
        variance > max(1e-6 * energy, 1e-12 * largest)
      }
    if isCentered {
      plain = covariance
      (cross, quantized) = centered
    } else {
      plain = moments.second
      cross = centered.cross.subtracting(mean.map { -$0 }, quantizedMean)
      quantized = centered.quantized.subtracting(quantizedMean.map { -$0 }, quantizedMean)
    }
  }

  /// Returns `E‖Wx − Ŵx̂‖² / E‖Wx‖²`, about the means if these moments are.
  func relativeError(of quantizedWeight: Matrix, from weight: Matrix) -> Double {
    let signal = weight.energy(plain)
    let mixed = weight.multiplied(by: cross).inner(quantizedWeight)
    let noise = signal - 2 * mixed + quantizedWeight.energy(quantized)
    return signal > 0 ? max(0, noise) / signal : 0
  }
}

extension AffineCode {
  /// Returns the weighted sums Σ w x², Σ w x Q(x) and Σ w Q(x)² over values and what they round to.
  func products(
    of values: [Float], weights: [Double]
  ) -> (signal: Double, mixed: Double, image: Double) {
    var (signal, mixed, image) = (0.0, 0.0, 0.0)
    for (value, weight) in zip(values, weights) {
      let (x, y) = (Double(value), Double(decode(encode(value))))
      signal += weight * x * x
      mixed += weight * x * y
      image += weight * y * y
    }
    return (signal, mixed, image)
  }
}

extension RowHistogram {
  /// Returns how quantized rows depend on the original ones: the factor `a`, and the mean square of
  /// `x̂ − a x`. For rows that are quantized by their largest magnitude, `a` minimizes that; for
  /// groups `a` is 1, because their middles, which quantization keeps, make up much of `x`. Both
  /// are sums over all values; errors of two columns are assumed to be uncorrelated.
  ///
  /// - Parameter count: the number of values.
  func gain(_ code: AffineCode, count: Int) -> (factor: Double, noise: Double) {
    let (values, energies) = weightedValues()
    let (signal, mixed, image) = code.products(of: values, weights: energies)
    guard signal > 0 else { return (1, 0) }
    if scaling.groupSize != nil {
      return (1, max(0, image - 2 * mixed + signal) / Double(max(1, count)))
    }
    let factor = mixed / signal
    return (factor, max(0, image - factor * mixed) / Double(max(1, count)))
  }
}

/// The moments of quantized Gaussian rows, an estimate for rows that a second run has not measured.
///
/// For jointly Gaussian `x` and any function of one of its components,
/// `Cov(x, Q(xⱼ)) = aⱼ Cov(x, xⱼ)` with `aⱼ = Cov(xⱼ, Q(xⱼ)) / Var(xⱼ)` (Bussgang 1952). Beyond
/// that, quantization errors of two components are assumed to be uncorrelated. Means, gains and
/// variances are exact sums over the steps.
struct QuantizedGaussian {
  let mean: [Double]
  let cross: Matrix
  let covariance: Matrix

  init(mean: [Double], covariance: Matrix, code: AffineCode) {
    let levels = (0...Int(code.maximumCode)).map { Double(code.decode(Float($0))) }
    var (means, gains, variances) = ([Double](), [Double](), [Double]())
    for column in mean.indices {
      let variance = max(0, covariance[column, column])
      let deviation = variance.squareRoot()
      guard variance > 0, code.scale > 0 else {
        means.append(Double(code.decode(code.encode(Float(mean[column])))))
        gains.append(0)
        variances.append(0)
        continue
      }
      // The density and the distribution at the threshold between two levels give all three.
      var expected = levels[0]
      var gain = 0.0
      var below = 0.0
      var square = 0.0
      for (level, next) in zip(levels, levels.dropFirst()) {
        let distance = ((level + next) / 2 - mean[column]) / deviation
        let distribution = 0.5 * erfc(-distance / 2.0.squareRoot())
        let density = exp(-distance * distance / 2) / (2 * Double.pi).squareRoot()
        expected += (next - level) * (1 - distribution)
        gain += (next - level) * density / deviation
        square += level * level * (distribution - below)
        below = distribution
      }
      let last = levels[levels.count - 1]
      square += last * last * (1 - below)
      means.append(expected)
      gains.append(gain)
      variances.append(max(0, square - expected * expected))
    }
    var cross = covariance
    var images = covariance
    for row in mean.indices {
      for column in mean.indices {
        cross[row, column] *= gains[column]
        images[row, column] *= gains[row] * gains[column]
      }
      images[row, row] = variances[row]
    }
    self.mean = means
    self.cross = cross
    self.covariance = images
  }
}

extension Matrix {
  /// Returns `self − left · rightᵀ`.
  fileprivate func subtracting(_ left: [Double], _ right: [Double]) -> Matrix {
    var result = self
    for row in 0..<rows {
      for column in 0..<columns { result[row, column] -= left[row] * right[column] }
    }
    return result
  }
}
