import CKernels
import Formats
import SuperResolution

/// Finds the clipping bounds of an activation from its histogram.
///
/// The error of a candidate is `Σ count · |x − Q(x)|^p` over the bins' middles; from 5 bits on, when
/// a quantizer's steps approach the bins' width, it is taken over several values per bin. DOBI
/// narrows both bounds at the same pace, but only the upper one for attention weights, which are
/// positive with a long tail (2DQuant, section 3.2). `free` starts at the better of both and moves
/// each bound separately; attention weights keep the bounds of DOBI and are normalized.
///
/// The exponent `p` is 2. In a free search of bounds that are the same for all values it is 2.5,
/// and 4 after a normalization: the least squares would clip the few large values, which the layers
/// after notice (cf. LAPQ, Nahshan et al. 2019, arXiv:1911.07190, section 4).
///
/// If bounds are relative to rows or groups, values are those of a `RowHistogram`.
struct ActivationBounds: Hashable, Sendable {
  let method: BoundSearchMethod
  /// The bit width, 1 to 8.
  let bitWidth: Int
  /// The granularity of bounds, if the site's rows were recorded.
  var scaling = ActivationScaling.tensor

  /// - Parameter siteName: the name of the site and of the quantizer.
  /// - Precondition: the site's histogram has values.
  func bounds(of site: SiteStatistics, siteName: String) -> ActivationQuantizer {
    let points = bitWidth > 4 ? 8 : 1
    let scaling = site.scaling(for: scaling)
    guard let rows = site.rows, scaling != .tensor else {
      let histogram = site.histogram
      return bounds(
        of: histogram.weightedValues(points: points),
        in: Float(histogram.minimum)...Float(histogram.maximum), siteName: siteName, .tensor,
        isAfterNormalization: site.isAfterNormalization)
    }
    return bounds(
      of: rows.weightedValues(points: points), in: rows.range, siteName: siteName, scaling)
  }

  private func bounds(
    of weighted: (values: [Float], weights: [Double]), in range: ClosedRange<Float>,
    siteName: String, _ scaling: ActivationScaling, isAfterNormalization: Bool = false
  ) -> ActivationQuantizer {
    let (values, weights) = weighted
    let isProbability = siteName.hasSuffix(".\(ActivationSite.Kind.probabilities)")
    let error =
      if method != .free || scaling != .tensor || isProbability {
        { (code: AffineCode) in code.error(of: values, weights: weights) { $0 * $0 } }
      } else if isAfterNormalization {
        { (code: AffineCode) in code.error(of: values, weights: weights) { $0 * $0 * $0 * $0 } }
      } else {
        { (code: AffineCode) in
          code.error(of: values, weights: weights) { $0 * $0 * $0.squareRoot() }
        }
      }
    let (minimum, maximum) = (range.lowerBound, range.upperBound)
    func found(_ method: BoundSearchMethod, from start: BoundSearch.Bounds? = nil)
      -> BoundSearch.Bounds
    {
      BoundSearch(method: method, bitWidth: bitWidth)
        .bounds(minimum: minimum, maximum: maximum, startingAt: start, error: error)
    }
    func cost(_ bounds: BoundSearch.Bounds) -> Double {
      error(AffineCode(lower: bounds.lower, scale: bounds.scale, bitWidth: bitWidth))
    }
    // Some attentions mix values by products that may be negative.
    let isNormalized = method == .free && isProbability && minimum >= 0
    let bounds: BoundSearch.Bounds
    switch method {
    // With a higher lower bound, the many small weights of a row would take from the large ones.
    case .dobi where isProbability, .free where isNormalized: bounds = found(.dobiOneSided)
    case .free:
      let both = [found(.dobi), found(.dobiOneSided)]
      bounds = found(.free, from: cost(both[1]) < cost(both[0]) ? both[1] : both[0])
    default: bounds = found(method)
    }
    let lower = bounds.lower
    let upper = Float(Double(lower) + Double(bounds.scale) * Double(1 << bitWidth - 1))
    return ActivationQuantizer(
      name: siteName, bitWidth: bitWidth, lower: lower,
      upper: upper.isFinite ? max(lower, upper) : .greatestFiniteMagnitude, scaling: scaling,
      isNormalized: isNormalized)
  }
}

extension ActivationQuantizer {
  /// The quantizer `s · round((clip(x, l, u) − l) / s) + l` with `s = (u − l) / (2^b − 1)`. If
  /// bounds are relative to rows or groups, it is that of rows whose largest magnitude is 1, or of
  /// groups from −1 to 1.
  package var code: AffineCode {
    AffineCode(
      lower: lower, scale: Float((Double(upper) - Double(lower)) / Double(1 << bitWidth - 1)),
      bitWidth: bitWidth)
  }

  /// Returns the quantized values of rows of `columns` values each, as the engine quantizes them.
  func images(of values: UnsafeBufferPointer<Float>, columns: Int) -> [Double] {
    var quantizer = ck_quantizer(self)
    let images = [Float](unsafeUninitializedCapacity: values.count) { images, count in
      ck_quantize_to(
        &quantizer, values.baseAddress, values.count / columns, columns, columns,
        images.baseAddress, columns)
      count = values.count
    }
    return images.map(Double.init)
  }
}

extension AffineCode {
  /// Returns `Σ weight · power(|x − Q(x)|)` in Double, summed in order.
  @inline(__always)
  fileprivate func error(
    of values: [Float], weights: [Double], power: (Double) -> Double
  ) -> Double {
    var sum = 0.0
    for index in values.indices {
      sum += weights[index] * power(abs(Double(values[index] - decode(encode(values[index])))))
    }
    return sum
  }
}
