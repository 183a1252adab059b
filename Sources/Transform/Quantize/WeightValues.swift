import Formats

/// The elements of a weight in Float32, in which codes are computed.
enum WeightValues {
  /// The elements of `tensor`, row-major.
  ///
  /// - Throws: `FormatError` when they cannot be read; `TransformError` for the first that is not finite,
  ///   or passes Float32's largest number, and for a float64 tensor of which Float32 keeps only zeros.
  static func of(_ name: String, _ tensor: Tensor) throws -> [Float] {
    let values = try locatingErrors(tensor: name) { try tensor.floatValues() }
    if let element = values.firstIndex(where: { !$0.isFinite }) {
      throw notFinite(
        name, element: element, value: values[element], exact: try exact(tensor)?[element])
    }
    if !values.contains(where: { $0 != 0 }), let exact = try exact(tensor) {
      try checkUnderflow(name, count: exact.count) { exact[$0] }
    }
    return values
  }

  private static func exact(_ tensor: Tensor) throws -> [Double]? {
    tensor.elementType == .float64 ? try tensor.doubleValues() : nil
  }

  /// - Parameter exact: the value before rounding to Float32; `nil` where it was not rounded.
  static func notFinite(_ name: String, element: Int, value: Float, exact: Double?)
    -> TransformError
  {
    let text =
      exact.map { $0.isFinite ? "\($0), past Float32's largest number" : "\($0)" } ?? "\(value)"
    return TransformError(.notFinite(value: text, element: element), tensor: name)
  }

  /// Checks a tensor whose elements all are zero in Float32.
  ///
  /// - Parameter exact: an element before rounding.
  /// - Throws: `TransformError` when one is not zero.
  static func checkUnderflow(_ name: String, count: Int, exact: (Int) -> Double) throws {
    var largest = 0.0
    for index in 0..<count { largest = max(largest, exact(index).magnitude) }
    guard largest > 0 else { return }
    throw TransformError(
      .cannotQuantize(
        reason:
          "its largest magnitude, \(largest), is less than Float32's smallest number, so that "
          + "every weight would become zero"), tensor: name)
  }
}
