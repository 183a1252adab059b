import CKernels
import Glibc
import Storage

/// The error of rounding a tensor to codes.
package struct RoundingCost: Hashable, Sendable, Codable {
  /// The number of rounded elements.
  package let elementCount: Int
  /// The sum of squares of the original values, Σ w².
  package let signal: Double
  /// The sum of squared errors, Σ (w − ŵ)², with ŵ in the element type.
  package let noise: Double
  /// The largest error, max |w − ŵ|.
  package let maximum: Double
  /// The number of elements whose nearest multiple of the scale lies outside the range of codes.
  package let clippedCount: Int

  /// The signal-to-quantization-noise ratio 10·log₁₀(Σ w² / Σ (w − ŵ)²) in dB; infinite without
  /// noise.
  package var signalToNoise: Double { Self.decibels(signal: signal, noise: noise) }

  /// The root mean square error.
  package var rootMeanSquare: Double { (noise / Double(max(1, elementCount))).squareRoot() }

  /// The fraction of clipped elements, 0…1.
  package var clippedShare: Double { Double(clippedCount) / Double(max(1, elementCount)) }

  package static func decibels(signal: Double, noise: Double) -> Double {
    noise > 0 ? 10 * log10(signal / noise) : .infinity
  }
}

extension RoundingCost {
  /// Creates the cost that the kernel accumulates while it rounds.
  init(_ cost: ck_affine_cost, elementCount: Int) {
    self.init(
      elementCount: elementCount, signal: cost.signal, noise: cost.noise,
      maximum: cost.largest_error, clippedCount: Int(cost.clipped))
  }
}

/// The difference between a quantized tensor, as read back, and its original values.
package struct QuantizationError: Hashable, Sendable, Codable {
  /// The cost of rounding, measured on the decoded tensor.
  package let cost: RoundingCost
  /// max |w − ŵ| / scale over the elements that are not clipped; about ½ for round to nearest.
  package let maximumInSteps: Double
  /// max |clip(w) − x| / scale, where clip(w) is w clipped to its cell's bounds and x is the value
  /// of its code in Float32, before rounding to the element type: a step may be finer than the
  /// element type's own spacing. Float32's own error is allowed for:
  /// `2⁻²² · max(|lower|, |upper|)`, or 2⁻¹⁴⁸ below its normal numbers.
  package let maximumStrayInSteps: Double

  /// Compares a quantized tensor, as read back, with its original values.
  ///
  /// - Parameter values: the elements before quantization, row-major.
  /// - Throws: `ModelError` when the number of values differs from that of elements, a value is not
  ///   finite in Float32, or codes are damaged.
  package init(of tensor: QuantizedTensor, from values: [Float]) throws {
    let decoded = try tensor.floatValues()
    guard values.count == decoded.count else {
      throw ModelError.mismatch(
        expected: counted(decoded.count, "element"), found: "\(values.count)")
    }
    if let index = values.firstIndex(where: { !$0.isFinite }) {
      throw ModelError.mismatch(
        expected: "numbers that are finite in Float32, to compare codes with",
        found: "\(values[index]) at element \(index)")
    }
    var sums = (signal: 0.0, noise: 0.0)
    var largest = (error: 0.0, steps: 0.0, stray: 0.0)
    var clippedCount = 0
    for cell in 0..<tensor.layout.cellCount {
      let code = tensor.code(ofCell: cell)
      for element in tensor.layout.elements(ofCell: cell) {
        let value = Double(values[element])
        let error = abs(value - Double(tensor.elementType.rounded(decoded[element])))
        sums.signal += value * value
        sums.noise += error * error
        largest.error = max(largest.error, error)
        largest.stray = max(largest.stray, code.stray(value, decoded[element]))
        guard code.scale > 0 else { continue }
        if code.clips(values[element]) {
          clippedCount += 1
        } else {
          largest.steps = max(largest.steps, error / Double(code.scale))
        }
      }
    }
    cost = RoundingCost(
      elementCount: values.count, signal: sums.signal, noise: sums.noise, maximum: largest.error,
      clippedCount: clippedCount)
    (maximumInSteps, maximumStrayInSteps) = (largest.steps, largest.stray)
  }
}

extension AffineCode {
  /// Returns the distance of `decoded`, in Float32, from the clipped `value` in steps, minus what
  /// Float32's rounding may add: twice the spacing of numbers as large as the bounds.
  fileprivate func stray(_ value: Double, _ decoded: Float) -> Double {
    let clipped = min(max(value, Double(lower)), Double(upper))
    let spacing = max(
      0x1p-23 * Double(max(lower.magnitude, upper.magnitude)),
      Double(Float.leastNonzeroMagnitude))
    let distance = abs(clipped - Double(decoded)) - 2 * spacing
    guard distance > 0 else { return 0 }
    return scale > 0 ? distance / Double(scale) : .infinity
  }

  /// Whether the code nearest to `value` is outside the range, so that its error exceeds half a
  /// step.
  func clips(_ value: Float) -> Bool {
    let nearest = ((value - lower) / scale).rounded(.toNearestOrEven)
    return nearest < 0 || nearest > maximumCode
  }
}
