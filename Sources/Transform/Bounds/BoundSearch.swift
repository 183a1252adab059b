import Formats
import Storage

/// Finds the lower bound and the scale with which a cell's values are quantized.
///
/// A range `l…u` stands for the quantizer `Q` with the lower bound `l` and the scale
/// `(u − l) / (2^b − 1)`, computed in Double, rounded to Float32, and then to the type that
/// parameters are stored in. Ranges are compared by `‖x − Q(x)‖²` of exactly this quantizer
/// (`AffineCode.squaredError(of:)`), so what is minimized is the error of the file. Of equals the
/// first wins, which makes the result independent of everything but the values and their order.
///
/// Source of `dobi` and `dobiOneSided`: 2DQuant (arXiv:2406.06649), algorithm 1, with 100 steps.
package struct BoundSearch: Hashable, Sendable {
  /// How bounds are found.
  package let method: BoundSearchMethod
  /// Bits of a code, 1 to 8.
  package let bitWidth: Int
  /// The type that bounds are rounded to before ranges are compared.
  package let parameterType: QuantizationParameterType

  /// Ranges that DOBI compares, the first of which is the minimum and maximum.
  static let candidateCount = 100
  /// Times that the pattern search halves its step, starting from a fiftieth of the range.
  private static let halvingCount = 10
  /// Rounds of the pattern search, four ranges each; it stops earlier almost always.
  private static let roundLimit = 200

  package init(
    method: BoundSearchMethod, bitWidth: Int,
    parameterType: QuantizationParameterType = .float32
  ) {
    precondition((1...8).contains(bitWidth), "a code has 1 to 8 bits")
    self.method = method
    self.bitWidth = bitWidth
    self.parameterType = parameterType
  }

  init(method: BoundSearchMethod, _ spec: AffineSpec) {
    self.init(method: method, bitWidth: spec.bitWidth, parameterType: spec.parameterType)
  }

  /// The parameters of one quantizer in Float32, not yet rounded to the stored type.
  package struct Bounds: Hashable, Sendable {
    /// What code 0 stands for.
    package let lower: Float
    /// Zero for values that are all the same.
    package let scale: Float

    package init(lower: Float, scale: Float) {
      self.lower = lower
      self.scale = scale
    }
  }

  /// The bounds for `values`, which must be finite and at least one.
  ///
  /// Values that are all the same give their value and a scale of zero. The squared error is never
  /// above that of `minimumMaximum`, and that of `free` never above that of `dobi`.
  ///
  /// - Complexity: O(*n*) for `minimumMaximum`, 100 times as much for DOBI.
  package func bounds(of values: [Float]) -> Bounds {
    values.withUnsafeBufferPointer(bounds)
  }

  func bounds(of values: UnsafeBufferPointer<Float>) -> Bounds {
    precondition(!values.isEmpty, "there are no values to bound")
    var minimum = values[0]
    var maximum = values[0]
    for value in values {
      minimum = min(minimum, value)
      maximum = max(maximum, value)
    }
    return bounds(minimum: minimum, maximum: maximum) { $0.squaredError(of: values) }
  }

  /// The bounds that minimize another error than that of values at hand.
  ///
  /// - Parameters:
  ///   - start: where a free search starts instead of at DOBI's bounds.
  ///   - error: what a quantizer, as stored, costs.
  func bounds(
    minimum: Float, maximum: Float, startingAt start: Bounds? = nil,
    error: Objective
  ) -> Bounds {
    guard minimum < maximum else { return Bounds(lower: minimum, scale: 0) }
    let whole = Interval(lower: Double(minimum), upper: Double(maximum))
    let found =
      switch method {
      case .minimumMaximum: whole
      case .dobi: narrowed(whole, isTwoSided: true, error).span
      case .dobiOneSided: narrowed(whole, isTwoSided: false, error).span
      case .free:
        moved(
          start.flatMap(interval).map { candidate($0, error) }
            ?? narrowed(whole, isTwoSided: true, error), error)
      }
    return parameters(of: found)
  }

  /// Checks that Float32, in which codes are computed, can tell the values of a cell apart.
  ///
  /// - Parameters:
  ///   - bounds: what the search found for a cell from `minimum` to `maximum`.
  ///   - largest: the largest magnitude in all cells of the tensor.
  /// - Throws: `ModelError` when the range is infinite in Float32, or one step of it is zero and
  ///   the tensor has no values beside which that would be nothing.
  static func check(_ bounds: Bounds, minimum: Float, maximum: Float, largest: Float) throws {
    guard minimum < maximum else { return }
    guard (maximum - minimum).isFinite else {
      throw ModelError(
        "its values from \(minimum) to \(maximum) lie further apart than Float32's largest "
          + "number")
    }
    guard bounds.scale > 0 || largest >= .leastNormalMagnitude else {
      throw ModelError(
        "its values from \(minimum) to \(maximum) lie so close that a step between them is "
          + "less than Float32's smallest number")
    }
  }

  /// The squared error `‖x − Q(x)‖²` of quantizing `values` with `bounds`, as stored.
  package func squaredError(of values: [Float], bounds: Bounds) -> Double {
    values.withUnsafeBufferPointer { squaredError(of: $0, bounds: bounds) }
  }

  /// What a quantizer costs; lower is better.
  typealias Objective = (AffineCode) -> Double

  private struct Interval {
    var lower: Double
    var upper: Double
  }

  private struct Candidate {
    var span: Interval
    var error: Double
  }

  private func squaredError(of values: UnsafeBufferPointer<Float>, bounds: Bounds) -> Double {
    code(bounds).squaredError(of: values)
  }

  /// The quantizer with `bounds` as they are stored.
  func code(_ bounds: Bounds) -> AffineCode {
    AffineCode(
      lower: parameterType.rounded(bounds.lower), scale: parameterType.rounded(bounds.scale),
      bitWidth: bitWidth)
  }

  private func candidate(_ span: Interval, _ error: Objective) -> Candidate {
    Candidate(span: span, error: error(code(parameters(of: span))))
  }

  /// `nil` for bounds that lie on one another.
  private func interval(_ bounds: Bounds) -> Interval? {
    guard bounds.scale > 0 else { return nil }
    let lower = Double(bounds.lower)
    return Interval(lower: lower, upper: lower + Double(bounds.scale) * Double(1 << bitWidth - 1))
  }

  private func parameters(of span: Interval) -> Bounds {
    Bounds(
      lower: Float(span.lower),
      scale: Float((span.upper - span.lower) / Double(1 << bitWidth - 1)))
  }

  /// The best of `candidateCount` ranges that narrow in equal steps down to nearly nothing.
  private func narrowed(
    _ whole: Interval, isTwoSided: Bool, _ error: Objective
  ) -> Candidate {
    let range = whole.upper - whole.lower
    let step = range / Double(isTwoSided ? 2 * Self.candidateCount : Self.candidateCount)
    var best = candidate(whole, error)
    for index in 1..<Self.candidateCount {
      let inset = Double(index) * step
      let next = candidate(
        Interval(lower: isTwoSided ? whole.lower + inset : whole.lower, upper: whole.upper - inset),
        error)
      // A range too wide for Float32 has no finite error, and any other is better.
      if next.error < best.error || !best.error.isFinite && next.error.isFinite { best = next }
    }
    return best
  }

  /// Moves one bound at a time by a step while that helps, then halves the step.
  private func moved(_ start: Candidate, _ error: Objective) -> Interval {
    var best = start
    var step = (start.span.upper - start.span.lower) / 50
    var halvings = 0
    for _ in 0..<Self.roundLimit where halvings <= Self.halvingCount {
      let center = best.span
      let neighbours = [
        Interval(lower: center.lower - step, upper: center.upper),
        Interval(lower: center.lower + step, upper: center.upper),
        Interval(lower: center.lower, upper: center.upper - step),
        Interval(lower: center.lower, upper: center.upper + step),
      ]
      var hasMoved = false
      for neighbour in neighbours where neighbour.lower < neighbour.upper {
        let next = candidate(neighbour, error)
        if next.error < best.error {
          best = next
          hasMoved = true
        }
      }
      if !hasMoved {
        step /= 2
        halvings += 1
      }
    }
    return best.span
  }
}
