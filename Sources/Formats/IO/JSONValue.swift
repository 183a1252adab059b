import OrderedCollections

/// A JSON value whose members keep their order.
public enum JSONValue: Hashable, Sendable {
  /// JSON's `null`.
  case null
  /// `true` or `false`.
  case boolean(Bool)
  /// A number written without fraction and exponent that fits `Int`.
  case integer(Int)
  /// Any other number, rounded to the nearest `Double`; never NaN or infinite.
  case number(Double)
  /// A text, its escapes resolved.
  case string(String)
  /// A list.
  case array([JSONValue])
  /// Members in the order of the text; a name occurs once.
  case object(OrderedDictionary<String, JSONValue>)
}
