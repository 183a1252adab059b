/// The place of a parameter in a `ParameterStore`.
package struct ParameterReference: Hashable, Sendable {
  /// The index of the parameter's entry.
  let index: Int
  /// The offset of its first element in the arrays of all elements.
  let offset: Int
  package let count: Int

  var range: Range<Int> { offset..<offset + count }

  /// Returns one of `count` parts of equal length.
  func part(_ number: Int, of count: Int) -> ParameterReference {
    let length = self.count / count
    return ParameterReference(index: index, offset: offset + number * length, count: length)
  }
}
