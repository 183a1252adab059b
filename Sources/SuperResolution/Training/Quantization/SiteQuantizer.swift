import CKernels
import Formats

/// The uniform quantizer of an activation site whose bounds are learned (2DQuant, equation 2):
///
///     Q(x) = s · round((clip(x, l, u) − l) / s) + l,   s = (u − l) / levels
///
/// with ties to even, the same bits as the engine's quantizer, and bounds measured as `scaling`
/// specifies. Its derivatives are those of `ck_quantize_gradient`.
struct SiteQuantizer: Sendable {
  let lower: Float
  let upper: Float
  /// 2^bits − 1.
  let levels: Float
  var scaling = ActivationScaling.tensor
  /// Whether rows are divided by their sums.
  var isNormalized = false
  let lowerReference: ParameterReference
  let upperReference: ParameterReference

  /// Writes Q(factor · x), for rows that are `stride` elements apart in both arrays; `y` may be
  /// `x`.
  ///
  /// - Parameter stride: `columns` by default.
  func apply(
    _ x: UnsafePointer<Float>, factor: Float = 1, rows: Int = 1, columns: Int,
    stride: Int? = nil, to y: UnsafeMutablePointer<Float>
  ) {
    let stride = stride ?? columns
    for row in 0..<rows {
      let (from, to) = (x + row * stride, y + row * stride)
      if factor == 1 {
        if from != UnsafePointer(to) { to.update(from: from, count: columns) }
      } else {
        for column in 0..<columns { to[column] = from[column] * factor }
      }
    }
    var kernel = kernel
    ck_quantize(&kernel, y, rows, columns, stride)
  }

  /// Turns the gradient of Q(factor · x) into that of x, in place, and adds those of the bounds,
  /// for rows that are `stride` elements apart in both arrays.
  ///
  /// - Parameters:
  ///   - factor: positive.
  ///   - stride: `columns` by default.
  func differentiate(
    _ x: UnsafePointer<Float>, factor: Float = 1, rows: Int = 1, columns: Int,
    stride: Int? = nil, _ g: UnsafeMutablePointer<Float>, _ sum: inout ck_bound_gradient
  ) {
    var kernel = kernel
    ck_quantize_gradient(&kernel, x, factor, rows, columns, stride ?? columns, g, &sum)
  }

  private var kernel: ck_quantizer {
    ck_quantizer(
      lower: lower, upper: upper, levels: levels, scaling: scaling, isNormalized: isNormalized)
  }
}

extension Tape {
  /// Returns the values rounded by the quantizer of a site; returns `x` itself if the site has
  /// none.
  func quantize(_ x: Variable, at site: Int) -> Variable {
    guard let quantizer = quantizer(at: site) else { return x }
    let y = result(
      rows: x.rows, columns: x.columns, needsGradient: x.needsGradient || isLearning(quantizer))
    quantizer.apply(x.values, rows: x.rows, columns: x.columns, to: y.values)
    record(y) { [self] gradient in
      var sum = ck_bound_gradient()
      quantizer.differentiate(
        x.values, rows: x.rows, columns: x.columns, gradient.pointer, &sum)
      add(sum, to: quantizer)
      x.add(gradient: gradient)
    }
    return y
  }

  func quantizer(at site: Int) -> SiteQuantizer? {
    quantizers.isEmpty ? nil : quantizers[site]
  }

  /// Whether the gradients of the bounds are wanted.
  func isLearning(_ quantizer: SiteQuantizer?) -> Bool {
    guard let quantizer else { return false }
    return gradient(quantizer.lowerReference) != nil || gradient(quantizer.upperReference) != nil
  }

  func add(_ sum: ck_bound_gradient, to quantizer: SiteQuantizer) {
    gradient(quantizer.lowerReference)?.pointee += Float(sum.lower)
    gradient(quantizer.upperReference)?.pointee += Float(sum.upper)
  }
}
