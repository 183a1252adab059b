/// All parameters, by name, in one array, with their gradients and the optimizer's state.
///
/// Names are those of the checkpoint's tensors. The bounds of a quantized weight are called
/// `<weight>.lower` and `<weight>.scale`, those of an activation `<site>.lower` and `<site>.upper`.
package struct ParameterStore: Sendable {
  package struct Entry: Sendable {
    package let name: String
    /// `nil` for values that are made of tensors and never learned.
    package fileprivate(set) var group: ParameterGroup?
    package let reference: ParameterReference
    /// The unit of learning rates for this parameter: the initial step between two codes for bounds
    /// and latent weights; 1 for all others.
    fileprivate(set) var unit: Float
  }

  package private(set) var entries: [Entry] = []
  private var places: [String: Int] = [:]
  /// All elements; those of an entry are in its reference's range.
  package var values: [Float] = []
  /// The derivatives of the loss, one per element.
  var gradients: [Float] = []
  /// The optimizer's averages of gradients and of their squares, one per element.
  package var firstMoments: [Float] = []
  package var secondMoments: [Float] = []

  /// - Parameter unit: see `Adam.rates`; 0 for parameters that are not learned.
  /// - Precondition: the name is new, and `unit` is finite and not negative.
  @discardableResult
  mutating func add(
    _ name: String, _ elements: [Float], group: ParameterGroup?, unit: Float = 1
  ) -> ParameterReference {
    precondition(places[name] == nil, "two parameters '\(name)'")
    precondition(unit >= 0 && unit.isFinite, "a unit of \(unit)")
    let reference = ParameterReference(
      index: entries.count, offset: values.count, count: elements.count)
    places[name] = entries.count
    entries.append(Entry(name: name, group: group, reference: reference, unit: unit))
    values += elements
    gradients.append(contentsOf: repeatElement(0, count: elements.count))
    firstMoments.append(contentsOf: repeatElement(0, count: elements.count))
    secondMoments.append(contentsOf: repeatElement(0, count: elements.count))
    return reference
  }

  /// - Precondition: `unit` is positive and finite.
  mutating func move(_ reference: ParameterReference, to group: ParameterGroup, unit: Float) {
    precondition(unit > 0 && unit.isFinite, "a unit of \(unit)")
    entries[reference.index].group = group
    entries[reference.index].unit = unit
  }

  subscript(name: String) -> ParameterReference? {
    places[name].map { entries[$0].reference }
  }

  func values(_ reference: ParameterReference) -> [Float] { Array(values[reference.range]) }

  /// Calls `body` with the elements of a range, their gradients, and the optimizer's averages.
  mutating func withElements(
    _ range: Range<Int>,
    _ body: (
      _ values: UnsafeMutablePointer<Float>, _ gradients: UnsafePointer<Float>,
      _ firstMoments: UnsafeMutablePointer<Float>, _ secondMoments: UnsafeMutablePointer<Float>
    ) -> Void
  ) {
    precondition(range.lowerBound >= 0 && range.upperBound <= values.count, "another store's range")
    let first = range.lowerBound
    values.withUnsafeMutableBufferPointer { values in
      gradients.withUnsafeBufferPointer { gradients in
        firstMoments.withUnsafeMutableBufferPointer { firstMoments in
          secondMoments.withUnsafeMutableBufferPointer { secondMoments in
            guard let values = values.baseAddress, let gradients = gradients.baseAddress,
              let firstMoments = firstMoments.baseAddress,
              let secondMoments = secondMoments.baseAddress
            else { return }
            body(values + first, gradients + first, firstMoments + first, secondMoments + first)
          }
        }
      }
    }
  }
}
