import Formats
import Storage

/// Finds the lower bound and the scale with which a cell's values are quantized.
///
/// A range `l…u` represents the quantizer `Q` with the lower bound `l` and the scale
/// `(u − l) / (2^b − 1)`, computed in Double, rounded to Float32, and then to the type in which
/// parameters are stored. Ranges are compared by `‖x − Q(x)‖²` of exactly this quantizer
/// (`AffineCode.squaredError(of:)`), so the search minimizes the error of the file. Among equals
/// the first wins, so the result depends only on the values and their order.
///
/// Source of `dobi` and `dobiOneSided`: 2DQuant (arXiv:2406.06649), algorithm 1, with 100 steps.
package struct BoundSearch: Hashable, Sendable {
  /// The search method.
  package let method: BoundSearchMethod
  /// The bit width of a code, 1 to 8.
  package let bitWidth: Int
  /// The type to which bounds are rounded before ranges are compared.
  package let parameterType: QuantizationParameterType

  /// The number of ranges that DOBI compares, beginning with that from minimum to maximum.
  static let candidateCount = 100
  /// The number of times that the pattern search halves its step, which starts at a fiftieth of the
  /// range.
  private static let halvingCount = 10
  /// The limit of rounds of the pattern search, with four ranges each; it is rarely reached.
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
    /// The value of code 0.
    package let lower: Float
    /// The distance between values; zero for values that are all equal.
    package let scale: Float

    package init(lower: Float, scale: Float) {
      self.lower = lower
      self.scale = scale
    }
  }

  /// Returns the bounds for `values`, which must be finite and not empty.
  ///
  /// Values that are all equal give their value and a scale of zero. The squared error never
  /// exceeds that of `minimumMaximum`, and that of `free` never exceeds that of `dobi`.
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

  /// Returns the bounds that minimize a given error.
  ///
  /// - Parameters:
  ///   - start: the start of a free search; by default DOBI's bounds.
  ///   - error: returns the error of a quantizer as stored.
  func bounds(
    minimum: Float, maximum: Float, startingAt start: Bounds? = nil,
    error: Objective
  ) -> Bounds {
    guard minimum < maximum else { return Bounds(lower: minimum, scale: 0) }
    let whole = Interval(lower: Double(minimum), upper: Double(maximum))
    let found =
      switch method {
      case .minimumMaximum: whole
      // A single cell has no row to share a unit with.
      case .dobi, .joint: narrowed(whole, isTwoSided: true, error).span
      case .dobiOneSided: narrowed(whole, isTwoSided: false, error).span
      case .free:
        moved(
          start.flatMap(interval).map { candidate($0, error) }
            ?? narrowed(whole, isTwoSided: true, error), error)
      }
    return parameters(of: found)
  }

  /// Checks that Float32, in which codes are computed, can distinguish the values of a cell.
  ///
  /// - Parameters:
  ///   - bounds: the bounds found for a cell with values from `minimum` to `maximum`.
  ///   - largest: the largest magnitude in all cells of the tensor.
  /// - Throws: `ModelError` when the range is infinite in Float32, or when its step is zero and the
  ///   tensor has no values large enough to make that negligible.
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

  /// Returns the squared error `‖x − Q(x)‖²` of quantizing `values` with `bounds`, as stored.
  package func squaredError(of values: [Float], bounds: Bounds) -> Double {
    values.withUnsafeBufferPointer { squaredError(of: $0, bounds: bounds) }
  }

  /// A closure that returns the error of a quantizer.
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

  /// Returns the quantizer with `bounds` as they are stored.
  func code(_ bounds: Bounds) -> AffineCode {
    AffineCode(
      lower: parameterType.rounded(bounds.lower), scale: parameterType.rounded(bounds.scale),
      bitWidth: bitWidth)
  }

  private func candidate(_ span: Interval, _ error: Objective) -> Candidate {
    Candidate(span: span, error: error(code(parameters(of: span))))
  }

  /// Returns the interval of `bounds`; `nil` if it is empty.
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

  /// Returns the best of `candidateCount` ranges that narrow in equal steps to almost zero.
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
      // A range too wide for Float32 has no finite error, so any other is better.
      if next.error < best.error || !best.error.isFinite && next.error.isFinite { best = next }
    }
    return best
  }

  /// Moves one bound at a time by a step as long as that helps, then halves the step.
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
