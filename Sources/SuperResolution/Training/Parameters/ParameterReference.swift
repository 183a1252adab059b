/// Where a parameter lies in a `ParameterStore`.
struct ParameterReference: Hashable, Sendable {
  /// Its number.
  let index: Int
  /// Of its first element in the arrays of all elements.
  let offset: Int
  let count: Int

  var range: Range<Int> { offset..<offset + count }
}
