import OrderedCollections

/// Reads the members of a JSON object one by one, with their types checked.
///
/// Errors name the member by its path, as in
/// `rules[1].bits: expected an integer from 1 to 8, found 9`. Members that have not been read stay
/// in `remaining`; a format keeps them, ignores them, or rejects them with `finish()`.
///
/// ```swift
/// var reader = try JSONObjectReader(json)
/// let bitWidth = try reader.require("bits", reader.integer("bits", in: 1...8))
/// let name = try reader.string("name") ?? "custom"
/// try reader.finish()
/// ```
package struct JSONObjectReader {
  /// The object's path in the text, such as `rules[1].where`; empty for the whole text.
  package let path: String
  /// The members that have not been read.
  package private(set) var remaining: OrderedDictionary<String, JSONValue>
  /// What was expected of each member that was asked for, whether present or not.
  private var expectations: OrderedDictionary<String, String> = [:]

  /// - Throws: `ModelError` when `json` is not an object.
  package init(_ json: JSONValue, path: String = "") throws {
    guard case .object(let members) = json else {
      throw Self.error(at: path, "expected an object, found \(json.kindDescription)")
    }
    self.path = path
    remaining = members
  }

  /// Returns the member at `key` whatever its type, or `nil` if there is none.
  package mutating func take(_ key: String) -> JSONValue? {
    expectations[key] = expectations[key] ?? "a value"
    return remaining.removeValue(forKey: key)
  }

  /// Returns the member at `key` as `convert` reads it, or `nil` if there is none.
  ///
  /// - Parameter expected: what the error names as expected when `convert` returns `nil`.
  package mutating func value<Value>(
    _ key: String, expected: String, _ convert: (JSONValue) throws -> Value?
  ) throws -> Value? {
    expectations[key] = expected
    guard let value = take(key) else { return nil }
    guard let converted = try convert(value) else {
      throw error(at: key, "expected \(expected), found \(value.kindDescription)")
    }
    return converted
  }

  /// Returns `value`, which was read from the required member at `key`.
  package mutating func require<Value>(_ key: String, _ value: Value?) throws -> Value {
    guard let value else {
      throw error(at: key, "expected \(expectations[key] ?? "a value"), found none")
    }
    return value
  }

  package mutating func string(_ key: String) throws -> String? {
    try value(key, expected: "a string") { value in
      if case .string(let text) = value { text } else { nil }
    }
  }

  package mutating func boolean(_ key: String) throws -> Bool? {
    try value(key, expected: "true or false") { value in
      if case .boolean(let flag) = value { flag } else { nil }
    }
  }

  package mutating func array(_ key: String) throws -> [JSONValue]? {
    try value(key, expected: "a list") { value in
      if case .array(let items) = value { items } else { nil }
    }
  }

  package mutating func integer(
    _ key: String, in range: ClosedRange<Int> = .min ... .max, expected: String? = nil
  ) throws -> Int? {
    try value(key, expected: expected ?? Self.description(of: range)) { value in
      if case .integer(let integer) = value, range.contains(integer) { integer } else { nil }
    }
  }

  /// Returns the member at `key` as an integer that counts something.
  package mutating func count(_ key: String) throws -> Int? {
    try integer(key, in: 0...(.max))
  }

  package mutating func number(_ key: String, atLeast least: Double? = nil) throws -> Double? {
    let expected = least.map { "a number of at least \(String(printf: "%g", $0))" } ?? "a number"
    return try value(key, expected: expected) { value in
      let number: Double
      switch value {
      case .integer(let integer): number = Double(integer)
      case .number(let real): number = real
      default: return nil
      }
      return number >= least ?? -.infinity ? number : nil
    }
  }

  /// Returns the case of `Value` that the string at `key` names.
  package mutating func choice<Value: RawRepresentable & CaseIterable>(_ key: String) throws
    -> Value? where Value.RawValue == String
  {
    let names = Value.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
    return try value(key, expected: "one of \(names)") { value in
      if case .string(let text) = value { Value(rawValue: text) } else { nil }
    }
  }

  /// Returns what `read` makes of the object at `key`.
  package mutating func object<Value>(
    _ key: String, _ read: (inout JSONObjectReader) throws -> Value
  ) throws -> Value? {
    try value(key, expected: "an object") { [path = path(of: key)] value in
      var reader = try JSONObjectReader(value, path: path)
      return try read(&reader)
    }
  }

  /// Returns what `read` makes of each object in the list at `key`.
  package mutating func objects<Value>(
    _ key: String, _ read: (inout JSONObjectReader) throws -> Value
  ) throws -> [Value]? {
    try value(key, expected: "a list of objects") { [path = path(of: key)] value in
      guard case .array(let items) = value else { return nil }
      return try items.enumerated().map { index, item in
        var reader = try JSONObjectReader(item, path: "\(path)[\(index)]")
        return try read(&reader)
      }
    }
  }

  /// Returns the remaining members, each of which must be a string.
  package func strings() throws -> OrderedDictionary<String, String> {
    OrderedDictionary(
      uniqueKeysWithValues: try remaining.map { key, value in
        guard case .string(let text) = value else {
          throw error(at: key, "expected a string, found \(value.kindDescription)")
        }
        return (key, text)
      })
  }

  /// Checks that every member was asked for.
  ///
  /// - Throws: `ModelError` that names the first unread member and lists the known ones.
  package func finish() throws {
    guard let unknown = remaining.keys.first else { return }
    throw Self.error(
      at: path,
      "unknown key '\(unknown)'; known keys are \(expectations.keys.joined(separator: ", "))")
  }

  /// Returns the path of a member.
  package func path(of key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

  /// Returns an error about the member at `key`.
  package func error(at key: String, _ message: String) -> ModelError {
    Self.error(at: path(of: key), message)
  }

  private static func error(at path: String, _ message: String) -> ModelError {
    .malformed(path.isEmpty ? message : "\(path): \(message)")
  }

  private static func description(of range: ClosedRange<Int>) -> String {
    if range.lowerBound == .min { return "an integer" }
    if range.upperBound == .max { return "an integer of at least \(range.lowerBound)" }
    return "an integer from \(range.lowerBound) to \(range.upperBound)"
  }
}

extension JSONValue {
  /// The value as an error shows it: scalars verbatim, containers by their kind.
  fileprivate var kindDescription: String {
    switch self {
    case .array(let items): items.isEmpty ? "an empty list" : "a list"
    case .object: "an object"
    case .string(let text) where text.count > 60: "a string of \(text.count) characters"
    default: serialized()
    }
  }
}
