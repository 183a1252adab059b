import Formats

/// Finds the clipping bounds of an activation from its histogram.
///
/// The error of a candidate is `Σ count · (x − Q(x))²` over the bins' middles; from 5 bits on, where
/// a quantizer's steps come near the bins' width, over several values a bin. DOBI narrows both bounds
/// at the same pace, and the upper one alone for attention weights, which are positive with a long
/// tail (2DQuant, section 3.2). `free` starts at the better of both and moves each bound on its own.
struct ActivationBounds: Hashable, Sendable {
  let method: BoundSearchMethod
  /// 1 to 8.
  let bitWidth: Int

  /// - Parameter siteName: as in `ActivationSite`, and the name of the quantizer.
  /// - Precondition: the histogram has values.
  func bounds(of histogram: ActivationHistogram, siteName: String) -> ActivationQuantizer {
    let (values, weights) = histogram.weightedValues(points: bitWidth > 4 ? 8 : 1)
    let error = { (code: AffineCode) in code.squaredError(of: values, weights: weights) }
    let (minimum, maximum) = (Float(histogram.minimum), Float(histogram.maximum))
    func found(_ method: BoundSearchMethod, from start: BoundSearch.Bounds? = nil)
      -> BoundSearch.Bounds
    {
      BoundSearch(method: method, bitWidth: bitWidth)
        .bounds(minimum: minimum, maximum: maximum, startingAt: start, error: error)
    }
    func cost(_ bounds: BoundSearch.Bounds) -> Double {
      error(AffineCode(lower: bounds.lower, scale: bounds.scale, bitWidth: bitWidth))
    }
    let bounds: BoundSearch.Bounds
    switch method {
    case .dobi where siteName.hasSuffix(".\(ActivationSite.Kind.probabilities)"):
      bounds = found(.dobiOneSided)
    case .free:
      let both = [found(.dobi), found(.dobiOneSided)]
      bounds = found(.free, from: cost(both[1]) < cost(both[0]) ? both[1] : both[0])
    default: bounds = found(method)
    }
    let lower = bounds.lower
    let upper = Float(Double(lower) + Double(bounds.scale) * Double(1 << bitWidth - 1))
    return ActivationQuantizer(
      name: siteName, bitWidth: bitWidth, lower: lower,
      upper: upper.isFinite ? max(lower, upper) : .greatestFiniteMagnitude)
  }
}

extension ActivationQuantizer {
  /// The quantizer `s · round((clip(x, l, u) − l) / s) + l` with `s = (u − l) / (2^b − 1)`.
  package var code: AffineCode {
    AffineCode(
      lower: lower, scale: Float((Double(upper) - Double(lower)) / Double(1 << bitWidth - 1)),
      bitWidth: bitWidth)
  }
}

extension AffineCode {
  /// `Σ weight · (x − Q(x))²` in Double, in order.
  fileprivate func squaredError(of values: [Float], weights: [Double]) -> Double {
    var sum = 0.0
    for index in values.indices {
      let difference = Double(values[index] - decode(encode(values[index])))
      sum += weights[index] * difference * difference
    }
    return sum
  }
}
