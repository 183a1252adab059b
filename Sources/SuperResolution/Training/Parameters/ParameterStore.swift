/// Everything that can be learned, under names, in one array, with its gradient and what the
/// optimizer remembers.
///
/// Names are those of the checkpoint's tensors; a quantized weight's bounds are called
/// `<weight>.lower` and `<weight>.scale`, an activation's `<site>.lower` and `<site>.upper`.
struct ParameterStore: Sendable {
  struct Entry: Sendable {
    let name: String
    fileprivate(set) var group: ParameterGroup
    let reference: ParameterReference
    /// How far is far for this parameter: rates of learning are in this unit. The first step between
    /// two codes for bounds and for the numbers that codes are rounded from; 1 for all others.
    fileprivate(set) var unit: Float
  }

  private(set) var entries: [Entry] = []
  private var places: [String: Int] = [:]
  /// All elements; an entry's are at its reference's range.
  var values: [Float] = []
  /// The loss's derivatives, as many.
  var gradients: [Float] = []
  /// The optimizer's averages of gradients and of their squares, as many.
  var firstMoments: [Float] = []
  var secondMoments: [Float] = []

  /// - Parameter unit: see `Adam.rates`; 0 for what is not learned.
  /// - Precondition: the name is new, `unit` finite and not negative.
  @discardableResult
  mutating func add(
    _ name: String, _ elements: [Float], group: ParameterGroup, unit: Float = 1
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
