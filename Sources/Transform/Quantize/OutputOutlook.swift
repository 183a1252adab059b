import Formats
import Glibc
import LinearAlgebra

/// What quantization will cost the output of a linear layer `y = W x` or of a convolution, predicted
/// from the weight and the moments of its calibrated inputs.
///
/// Weight and inputs are both rounded to nearest, with one range each from the smallest to the
/// largest value; `convert` achieves more with searched and smaller ranges. The prediction ranks
/// layers, and was within 1 dB of simulations for most distributions of inputs.
///
/// Rounded inputs are taken for `x̂ = c x + e` with the gain c of all inputs' distribution (Bussgang
/// 1952) and an error e that is not correlated between channels, so that with the rounded weight Ŵ
/// `E‖y − ŷ‖² = tr((cŴ − W) H (cŴ − W)ᵀ) + E e² ‖Ŵ‖²_F`. That is optimistic where few directions
/// make all inputs.
///
/// `alignment` and `concentration` are the two factors into which CAT (ICML 2026) divides the loss:
/// for errors that depend on nothing, a layer of n inputs has about
/// `SQNR = n · alignment · 12 (2^b − 1)² · concentration` if only its inputs are quantized.
package struct OutputOutlook: Codable, Hashable, Sendable {
  /// `E‖Wx‖² / (‖W‖²_F · E‖x‖²)` in dB: how much of the inputs' energy the weight lets through.
  /// −10·log₁₀ n for inputs of equal energy in all directions; less, if they lie where the weight is
  /// small.
  package let alignment: Double
  /// `E‖x‖² / (n · range²)` in dB, with the range from the smallest to the largest input: how well
  /// the inputs use their range. −10.8 dB for a uniform distribution about zero; outliers lower it.
  package let concentration: Double
  /// `E‖y‖² / E‖y − ŷ‖²` in dB with weight and inputs at 2 bits.
  package let bits2: Double
  /// The same at 3 bits.
  package let bits3: Double
  /// The same at 4 bits.
  package let bits4: Double
  /// The input channels that are much larger than others, the largest first; at most
  /// `OutlierChannel.mostListed`.
  package let outliers: [OutlierChannel]
  /// The number of such channels.
  package let outlierCount: Int

  /// Predicts the loss of a weight `[outputs, inputs]`, or of some of its rows.
  ///
  /// - Parameter site: the statistics of the layer's inputs.
  /// - Returns: `nil` if their moments were not recorded or do not fit the weight, or if inputs or
  ///   outputs are all zero or not finite.
  package init?(of weight: Matrix, inputs site: SiteStatistics) {
    guard let moments = site.moments, moments.columnCount == weight.columns, weight.rows > 0,
      let range = weight.values.min().flatMap({ low in weight.values.max().map { (low, $0) } })
    else { return nil }
    let energies = moments.second.diagonal
    let inputEnergy = energies.reduce(0, +)
    let norm = weight.inner(weight)
    let outputEnergy = weight.energy(moments.second)
    let histogram = site.histogram
    let inputRange = histogram.maximum - histogram.minimum
    guard inputEnergy > 0, norm > 0, outputEnergy > 0, inputRange > 0, outputEnergy.isFinite,
      norm.isFinite
    else { return nil }
    alignment = RoundingCost.decibels(signal: outputEnergy, noise: norm * inputEnergy)
    concentration = RoundingCost.decibels(
      signal: inputEnergy, noise: Double(weight.columns) * inputRange * inputRange)
    func predicted(_ bitWidth: Int) -> Double {
      let steps = Float(1 << bitWidth - 1)
      let code = AffineCode(
        lower: Float(range.0), scale: (Float(range.1) - Float(range.0)) / steps,
        bitWidth: bitWidth)
      let quantized = Matrix(
        rows: weight.rows, columns: weight.columns,
        values: weight.values.map { Double(code.decode(code.encode(Float($0)))) })
      let inputs = histogram.gain(bitWidth: bitWidth)
      let error = quantized.scaled(by: inputs.factor).adding(weight, times: -1)
      let inputNoise = inputs.noise * inputEnergy / Double(weight.columns)
      return RoundingCost.decibels(
        signal: outputEnergy,
        noise: error.energy(moments.second) + inputNoise * quantized.inner(quantized))
    }
    (bits2, bits3, bits4) = (predicted(2), predicted(3), predicted(4))
    let taps = max(1, site.tapCount)
    let channels = stride(from: 0, to: energies.count - taps + 1, by: taps).map { start in
      energies[start..<start + taps].reduce(0, +) / Double(taps)
    }
    let found = OutlierChannel.find(meanSquares: channels)
    outliers = Array(found.prefix(OutlierChannel.mostListed))
    outlierCount = found.count
  }
}

extension ActivationHistogram {
  /// Returns how rounded values between the smallest and the largest depend on the original ones:
  /// the factor c that minimizes `Σ (Q(x) − c x)²`, and that sum over `Σ x²`.
  fileprivate func gain(bitWidth: Int) -> (factor: Double, noise: Double) {
    let code = AffineCode(
      lower: Float(minimum), scale: Float(maximum - minimum) / Float(1 << bitWidth - 1),
      bitWidth: bitWidth)
    let (values, weights) = weightedValues()
    let (signal, mixed, image) = code.products(of: values, weights: weights)
    guard signal > 0 else { return (1, 0) }
    let factor = mixed / signal
    return (factor, max(0, image - factor * mixed) / signal)
  }
}

/// A channel whose values are much larger than those of others.
package struct OutlierChannel: Codable, Hashable, Sendable {
  /// The channel, counted from 0.
  package let index: Int
  /// Its root mean square over the median of all channels.
  package let ratio: Double

  /// The ratio from which a channel is an outlier. Magnitudes of six times the usual are those that
  /// LLM.int8() (arXiv:2208.07339) keeps apart.
  package static let leastRatio = 6.0
  /// The largest number of channels that a report lists of one layer.
  package static let mostListed = 8

  package init(index: Int, ratio: Double) {
    self.index = index
    self.ratio = ratio
  }

  /// Returns the outliers among channels of these mean squares, the largest first; none if fewer
  /// than four channels are not zero.
  package static func find(meanSquares: [Double]) -> [OutlierChannel] {
    let positive = meanSquares.filter { $0 > 0 && $0.isFinite }.sorted()
    guard positive.count >= 4 else { return [] }
    let median = positive[positive.count / 2]
    return meanSquares.enumerated().compactMap { index, square in
      let ratio = (square / median).squareRoot()
      return ratio >= leastRatio ? OutlierChannel(index: index, ratio: ratio) : nil
    }.sorted { ($1.ratio, $0.index) < ($0.ratio, $1.index) }
  }
}
