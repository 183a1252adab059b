import Formats

/// Finds the clipping bounds of an activation from its histogram.
///
/// The error of a candidate is `Σ count · (x − Q(x))²` over the bins' middles; from 5 bits on, when
/// a quantizer's steps approach the bins' width, it is taken over several values per bin. DOBI
/// narrows both bounds at the same pace, but only the upper one for attention weights, which are
/// positive with a long tail (2DQuant, section 3.2). `free` starts at the better of both and moves
/// each bound separately; attention weights keep the bounds of DOBI and are normalized.
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
        in: Float(histogram.minimum)...Float(histogram.maximum), siteName: siteName, .tensor)
    }
    return bounds(
      of: rows.weightedValues(points: points), in: rows.range, siteName: siteName, scaling)
  }

  private func bounds(
    of weighted: (values: [Float], weights: [Double]), in range: ClosedRange<Float>,
    siteName: String, _ scaling: ActivationScaling
  ) -> ActivationQuantizer {
    let (values, weights) = weighted
    let error = { (code: AffineCode) in code.squaredError(of: values, weights: weights) }
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
    let isProbability = siteName.hasSuffix(".\(ActivationSite.Kind.probabilities)")
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
  package var code: AffineCode { code(rowMagnitude: 1) }

  /// Returns the quantizer of rows with this largest magnitude.
  func code(rowMagnitude: Float) -> AffineCode {
    code(lower * rowMagnitude, upper * rowMagnitude)
  }

  /// Returns the quantizer of a group, which has a single value if the group has no range.
  private func code(of group: UnsafeBufferPointer<Float>) -> AffineCode {
    guard let range = RowHistogram.range(of: group) else {
      let value = group.min() ?? 0
      return code(value, value)
    }
    func bound(_ bound: Float) -> Float {
      range.lowerBound * ((1 - bound) / 2) + range.upperBound * ((1 + bound) / 2)
    }
    return code(bound(lower), bound(upper))
  }

  private func code(_ lower: Float, _ upper: Float) -> AffineCode {
    AffineCode(
      lower: lower, scale: Float((Double(upper) - Double(lower)) / Double(1 << bitWidth - 1)),
      bitWidth: bitWidth)
  }

  /// Returns the quantized values of rows of `columns` values each.
  func images(of values: UnsafeBufferPointer<Float>, columns: Int) -> [Double] {
    var images: [Double] = []
    images.reserveCapacity(values.count)
    for start in stride(from: 0, to: values.count, by: columns) {
      let length = scaling.groupSize ?? columns
      for first in stride(from: start, to: start + columns, by: length) {
        let run = UnsafeBufferPointer(
          rebasing: values[first..<min(first + length, start + columns)])
        let code =
          switch scaling {
          case .tensor: self.code
          case .row: self.code(rowMagnitude: RowHistogram.magnitude(of: run))
          case .group: self.code(of: run)
          }
        for value in run { images.append(Double(code.decode(code.encode(value)))) }
      }
    }
    return images
  }
}

extension AffineCode {
  /// Returns `Σ weight · (x − Q(x))²` in Double, summed in order.
  fileprivate func squaredError(of values: [Float], weights: [Double]) -> Double {
    var sum = 0.0
    for index in values.indices {
      let difference = Double(values[index] - decode(encode(values[index])))
      sum += weights[index] * difference * difference
    }
    return sum
  }
}
