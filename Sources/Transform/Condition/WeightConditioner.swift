import Formats
import LinearAlgebra
import Storage

/// Conditions a weight in its own element type, part by part.
///
/// Rounding to the element type moves singular values, the smallest ones most, so the target of the
/// descent is lowered until the rounded matrix meets the requested one.
struct WeightConditioner: Hashable, Sendable {
  let conditioner: Conditioner

  init(_ conditioner: Conditioner) {
    self.conditioner = conditioner
  }

  /// The conditioned rows of one part.
  struct Part: Sendable {
    let outcome: Conditioner.Outcome
    /// The rows, row-major and exact in the element type; `nil` if they stay unchanged.
    let values: [Double]?
  }

  /// - Parameters:
  ///   - values: one matrix, `[rows, columns]`, row-major and finite.
  ///   - elementType: the type in which the result must be exact.
  /// - Throws: `LAPACKError`; `ModelError` when no rounded matrix meets the target.
  func condition(
    _ values: [Double], rows: Int, columns: Int, elementType: ElementType, moment: Matrix?
  ) throws -> Part {
    let original = Matrix(rows: rows, columns: columns, values: values)
    guard case .target(let target) = conditioner.constraint else {
      return try part(
        conditioner.condition(original, moment: moment), elementType, original, moment)
    }
    var lowered = target
    for _ in 0..<Self.attemptLimit {
      let attempt = Conditioner(
        .target(max(1, lowered)), iterationLimit: conditioner.iterationLimit,
        tolerance: conditioner.tolerance)
      // The first attempt decides whether any work is needed.
      let outcome = try (lowered == target ? conditioner : attempt)
        .condition(original, moment: moment)
      let part = try part(outcome, elementType, original, moment)
      let reached = part.outcome.conditionNumberAfter ?? 1
      if part.values == nil || reached <= target * (1 + Conditioner.targetSlack) { return part }
      guard lowered > 1 else { break }
      // Rounding adds about the same amount again.
      lowered = max(1, lowered * min(target / reached, 1 - 1e-7) * (1 - 1e-7))
    }
    throw ModelError("a condition number of \(target) cannot be reached in \(elementType)")
  }

  private static let attemptLimit = 8

  /// Returns the outcome with its matrix rounded and the numbers of the rounded matrix.
  private func part(
    _ outcome: Conditioner.Outcome, _ elementType: ElementType, _ original: Matrix,
    _ moment: Matrix?
  ) throws -> Part {
    guard outcome.matrix != original else { return Part(outcome: outcome, values: nil) }
    let values = outcome.matrix.values.map(elementType.rounded)
    let matrix = Matrix(rows: original.rows, columns: original.columns, values: values)
    let difference = matrix.adding(original, times: -1)
    let error = moment.map(difference.energy) ?? difference.inner(difference)
    let energy = moment.map(original.energy) ?? original.inner(original)
    let rounded = Conditioner.Outcome(
      matrix: matrix, conditionNumberBefore: outcome.conditionNumberBefore,
      conditionNumberAfter: Conditioner.conditionNumber(
        try SingularValues(of: matrix, method: .decomposition).values),
      iterationCount: outcome.iterationCount, relativeOutputError: energy > 0 ? error / energy : 0)
    return Part(outcome: rounded, values: values)
  }
}

extension ElementType {
  /// Returns `value` rounded to this floating-point type, to nearest, ties to even.
  func rounded(_ value: Double) -> Double {
    switch self {
    case .float64: value
    case .float16: Double(Float16(value))
    case .bfloat16: Double(Float(bitPattern: UInt32(Self.bfloat16Bits(Float(value))) << 16))
    default: Double(Float(value))
    }
  }

  /// Returns the little-endian bytes of finite values in a floating-point type that can be
  /// quantized.
  ///
  /// - Throws: `ModelError` for the first value that exceeds the type's largest number.
  func bytes(of values: [Double]) throws -> SharedBytes {
    if let element = values.firstIndex(where: { !rounded($0).isFinite }) {
      throw ModelError(
        "element \(element) would become \(values[element]), which exceeds the largest \(self)")
    }
    return switch self {
    case .float64: SharedBytes(elementsOf: values)
    case .float16: SharedBytes(elementsOf: values.map { Float16($0) })
    case .bfloat16: SharedBytes(elementsOf: values.map { Self.bfloat16Bits(Float($0)) })
    default: SharedBytes(elementsOf: values.map { Float($0) })
    }
  }

  private static func bfloat16Bits(_ value: Float) -> UInt16 {
    let bits = value.bitPattern
    return UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ (bits >> 16 & 1)) >> 16)
  }
}
