import CKernels
import Glibc
import Storage

/// What rounding a tensor to codes cost.
package struct RoundingCost: Hashable, Sendable, Codable {
  /// Elements that were rounded.
  package let elementCount: Int
  /// The sum of squares of the values before, Σ w².
  package let signal: Double
  /// The sum of squared errors, Σ (w − ŵ)², with ŵ in the element type.
  package let noise: Double
  /// The largest error, max |w − ŵ|.
  package let maximum: Double
  /// Elements whose nearest multiple of the scale lies outside the range of codes.
  package let clippedCount: Int

  /// The signal-to-quantization-noise ratio 10·log₁₀(Σ w² / Σ (w − ŵ)²) in dB; infinite without
  /// noise.
  package var signalToNoise: Double { Self.decibels(signal: signal, noise: noise) }

  /// The root of the mean squared error.
  package var rootMeanSquare: Double { (noise / Double(max(1, elementCount))).squareRoot() }

  /// The share of clipped elements, 0…1.
  package var clippedShare: Double { Double(clippedCount) / Double(max(1, elementCount)) }

  package static func decibels(signal: Double, noise: Double) -> Double {
    noise > 0 ? 10 * log10(signal / noise) : .infinity
  }
}

extension RoundingCost {
  /// The cost that the kernel sums up while it rounds.
  init(_ cost: ck_affine_cost, elementCount: Int) {
    self.init(
      elementCount: elementCount, signal: cost.signal, noise: cost.noise,
      maximum: cost.largest_error, clippedCount: Int(cost.clipped))
  }
}

/// How far a quantized tensor, as it is read back, is from what it was made from.
package struct QuantizationError: Hashable, Sendable, Codable {
  /// The cost of rounding, measured afterwards.
  package let cost: RoundingCost
  /// max |w − ŵ| / scale over the elements that are not clipped; about ½ for round to nearest.
  package let maximumInSteps: Double
  /// max |clip(w) − x| / scale, where w is first clipped to its cell's bounds and x is what its code
  /// stands for in Float32, before rounding to the element type: a step may be finer than the element
  /// type's own spacing. What Float32 adds is forgiven, `2⁻²² · max(|lower|, |upper|)`, or 2⁻¹⁴⁸ below
  /// its normal numbers.
  package let maximumStrayInSteps: Double

  /// Compares a quantized tensor, as it is read back, with what it was made from.
  ///
  /// - Parameter values: the elements before quantization, row-major.
  /// - Throws: `ModelError` when there are not as many values as elements, one of them is not finite
  ///   (in Float32), or codes are damaged.
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
  /// How far `decoded`, in Float32, is from the clipped `value`, in steps, less what Float32's rounding
  /// may add: twice the spacing of numbers as large as the bounds.
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
