import CKernels
import Formats
import Storage

extension ActivationQuantizer {
  /// - Throws: `ModelError` when the bit width or the bounds are invalid, or when the site does not
  ///   support the quantizer's scaling.
  func check(at site: ActivationSite) throws {
    guard site.kind.has(scaling) else {
      throw ModelError("the activation '\(name)' has no rows to scale its bounds by")
    }
    guard !isNormalized || site.kind == .probabilities else {
      throw ModelError("the activation '\(name)' has no rows with a sum of 1")
    }
    guard upper >= lower, (upper - lower).isFinite, (1...8).contains(bitWidth) else {
      throw ModelError(
        "the activation '\(name)' cannot be quantized to \(bitWidth) bits from \(lower) to \(upper)"
      )
    }
  }
}

extension ck_quantizer {
  package init(_ activation: ActivationQuantizer) {
    self.init(
      lower: activation.lower, upper: activation.upper,
      levels: Float((1 << activation.bitWidth) - 1), scaling: activation.scaling,
      isNormalized: activation.isNormalized)
  }

  init(
    lower: Float, upper: Float, levels: Float, scaling: ActivationScaling, isNormalized: Bool
  ) {
    self.init(
      lower: lower, upper: upper, levels: levels, is_row_scaled: scaling == .row,
      group_size: scaling.groupSize ?? 0, is_normalized: isNormalized)
  }
}
