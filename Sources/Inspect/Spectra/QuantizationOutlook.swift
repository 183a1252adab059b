import Formats

/// The signal-to-quantization-noise ratio in dB that plain rounding of a tensor would achieve.
///
/// The clipping bounds are the smallest and largest element of the whole tensor (min–max), without
/// a search, and the code is the packed format's affine one in Float32. `convert` achieves more
/// with searched bounds, by several dB at 2 bits; this estimate serves to rank the layers.
package struct QuantizationOutlook: Codable, Hashable, Sendable {
  /// dB at 2 bits; infinite if rounding changes nothing.
  package var bits2: Double
  /// dB at 3 bits; infinite if rounding changes nothing.
  package var bits3: Double
  /// dB at 4 bits; infinite if rounding changes nothing.
  package var bits4: Double

  /// Computes the ratios.
  ///
  /// - Parameters:
  ///   - values: Finite values.
  ///   - range: The smallest and the largest of them.
  /// - Returns: `nil` if all elements are zero, or the range exceeds Float's.
  init?(of values: UnsafeBufferPointer<Double>, range: (lower: Double, upper: Double)) {
    let (lower, upper) = (Float(range.lower), Float(range.upper))
    guard (upper - lower).isFinite, lower != 0 || upper != 0 else { return nil }
    let codes = [2, 3, 4].map { bits in
      AffineCode(
        lower: lower, scale: (upper - lower) / Float(1 << bits - 1), bitWidth: bits)
    }
    var signal = 0.0
    var noise = [0.0, 0.0, 0.0]
    var chunk = [Float](repeating: 0, count: Self.chunk)
    for start in stride(from: 0, to: values.count, by: Self.chunk) {
      let count = min(Self.chunk, values.count - start)
      chunk.withUnsafeMutableBufferPointer { chunk in
        for index in 0..<count { chunk[index] = Float(values[start + index]) }
        let part = UnsafeBufferPointer(rebasing: chunk[..<count])
        signal += Self.sumOfSquares(part)
        for (index, code) in codes.enumerated() { noise[index] += code.squaredError(of: part) }
      }
    }
    bits2 = RoundingCost.decibels(signal: signal, noise: noise[0])
    bits3 = RoundingCost.decibels(signal: signal, noise: noise[1])
    bits4 = RoundingCost.decibels(signal: signal, noise: noise[2])
  }

  /// The number of elements whose squared errors are summed in vector lanes before joining the
  /// total.
  private static let chunk = 2048

  private static func sumOfSquares(_ values: UnsafeBufferPointer<Float>) -> Double {
    var sum = 0.0
    for value in values { sum += Double(value) * Double(value) }
    return sum
  }
}
