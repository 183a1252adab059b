import OrderedCollections

/// The members of a JSON object, taken one by one with their types checked.
///
/// What is left at the end is what the reader does not know: a format decides whether that is
/// kept, ignored or refused.
package struct JSONMembers {
  /// What the object is, as it reads in errors: `the header`, `rule 3`.
  package let subject: String
  package private(set) var remaining: OrderedDictionary<String, JSONValue>

  /// - Throws: `ModelError` when `json` is not an object.
  package init(_ json: JSONValue, subject: String) throws {
    guard case .object(let members) = json else {
      throw ModelError.malformed("\(subject) is not a JSON object")
    }
    self.subject = subject
    remaining = members
  }

  /// The member `name`, taken out; `nil` when absent.
  package mutating func take(_ name: String) -> JSONValue? {
    remaining.removeValue(forKey: name)
  }

  /// The member `name` as a text; `nil` when absent.
  package mutating func takeString(_ name: String) throws -> String? {
    guard let value = take(name) else { return nil }
    guard case .string(let text) = value else { throw wrongType(name, expected: "a string") }
    return text
  }

  /// The member `name` as an integer; `nil` when absent.
  package mutating func takeInteger(_ name: String) throws -> Int? {
    guard let value = take(name) else { return nil }
    guard case .integer(let integer) = value else { throw wrongType(name, expected: "an integer") }
    return integer
  }

  /// The member `name` as an integer that counts something; `nil` when absent.
  package mutating func takeCount(_ name: String) throws -> Int? {
    guard let integer = try takeInteger(name) else { return nil }
    guard integer >= 0 else { throw wrongType(name, expected: "a count") }
    return integer
  }

  /// The member `name` as a number; `nil` when absent.
  package mutating func takeNumber(_ name: String) throws -> Double? {
    switch take(name) {
    case nil: return nil
    case .integer(let integer): return Double(integer)
    case .number(let number): return number
    default: throw wrongType(name, expected: "a number")
    }
  }

  /// The member `name` as an array; `nil` when absent.
  package mutating func takeArray(_ name: String) throws -> [JSONValue]? {
    guard let value = take(name) else { return nil }
    guard case .array(let elements) = value else { throw wrongType(name, expected: "an array") }
    return elements
  }

  /// `value`, which must be there.
  ///
  /// Used as `try members.require("name", members.takeString("name"))`.
  package func require<Value>(_ name: String, _ value: Value?) throws -> Value {
    guard let value else { throw ModelError.malformed("\(subject) has no '\(name)'") }
    return value
  }

  private func wrongType(_ name: String, expected: String) -> ModelError {
    ModelError.malformed("'\(name)' of \(subject) is not \(expected)")
  }
}
