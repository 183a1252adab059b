import TestSupport

@testable import SuperResolution

/// Compares an operation's backward pass with central differences.
///
/// The loss is a sum of the operation's results with fixed random factors; all operands are
/// parameters.
struct GradientCheck {
  /// The element count of each operand.
  let counts: [Int]
  var quantizers: [SiteQuantizer?] = []
  var seed: UInt64 = 1

  /// Returns the largest difference of a derivative from the difference quotient, in units of 1 or
  /// of the derivative, whichever is larger.
  func largestError(_ operation: (Tape, [ParameterReference]) -> Variable) -> Float {
    var generator = SplitMix(seed: seed)
    var offset = 0
    let references = counts.enumerated().map { index, count in
      defer { offset += count }
      return ParameterReference(index: index, offset: offset, count: count)
    }
    // The values stay away from zero, where some operations have a kink.
    var values = (0..<offset).map { _ in
      Float.random(in: 0.1...1, using: &generator) * (Bool.random(using: &generator) ? 1 : -1)
    }
    var factors: [Float] = []
    var gradients = [Float](repeating: 0, count: offset)
    let pool = BufferPool()

    func loss(_ values: [Float], _ gradients: UnsafeMutablePointer<Float>?) -> Double {
      values.withUnsafeBufferPointer { values in
        let tape = Tape(
          pool: pool, parameters: values.baseAddress!, gradients: gradients,
          isWanted: counts.map { _ in true }, quantizers: quantizers)
        let y = operation(tape, references)
        if factors.isEmpty {
          factors = (0..<y.count).map { _ in Float.random(in: -1...1, using: &generator) }
        }
        let sum = (0..<y.count).reduce(0.0) { $0 + Double(y.values[$1]) * Double(factors[$1]) }
        if gradients != nil {
          let seeds = y.gradientToAddTo(pool).pointer
          for index in factors.indices { seeds[index] = factors[index] }
          tape.backward()
        }
        return sum
      }
    }

    _ = gradients.withUnsafeMutableBufferPointer { loss(values, $0.baseAddress) }
    var largest: Float = 0
    for index in values.indices {
      let (kept, step) = (values[index], Float(1) / 128)
      values[index] = kept + step
      let above = loss(values, nil)
      values[index] = kept - step
      let below = loss(values, nil)
      values[index] = kept
      let slope = Float((above - below) / Double(2 * step))
      let error = abs(slope - gradients[index]) / max(1, abs(slope))
      largest = error.isNaN ? .infinity : max(largest, error)
    }
    return largest
  }
}
