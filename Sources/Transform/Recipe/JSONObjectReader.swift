import Formats
import Storage

/// Reads the members of a JSON object, each at most once, and refuses those that nobody read.
///
/// Errors name the member by its path, such as `rules[1].where.rank`.
struct JSONObjectReader {
  private let members: JSONValue.Members
  private let path: String
  private let recipe: String?
  private var knownKeys: [String] = []

  /// - Throws: `ModelError` when `value` is no object.
  init(_ value: JSONValue, path: String, recipe: String?) throws {
    guard case .object(let members) = value else {
      throw ModelError.malformed(
        (path.isEmpty ? "" : "\(path): ") + "expected an object, found \(value.kindDescription)",
        path: recipe)
    }
    self.members = members
    self.path = path
    self.recipe = recipe
  }

  /// The member at `key` as `convert` reads it, or `nil` where there is none.
  ///
  /// - Parameter expected: what the error says was expected where `convert` gives `nil`.
  mutating func value<Value>(
    _ key: String, expected: String, _ convert: (JSONValue) -> Value?
  ) throws -> Value? {
    known(key)
    guard let value = members[key] else { return nil }
    guard let converted = convert(value) else {
      throw error(at: key, "expected \(expected), found \(value.kindDescription)")
    }
    return converted
  }

  mutating func integer(_ key: String, in range: ClosedRange<Int>, expected: String) throws
    -> Int?
  {
    try value(key, expected: expected) { value in
      guard case .integer(let integer) = value, range.contains(integer) else { return nil }
      return integer
    }
  }

  mutating func string(_ key: String) throws -> String? {
    try value(key, expected: "a text") { value in
      guard case .string(let text) = value else { return nil }
      return text
    }
  }

  /// One of the texts that name the cases of `Value`.
  mutating func choice<Value: RawRepresentable & CaseIterable>(_ key: String) throws -> Value?
  where Value.RawValue == String {
    let names = Value.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
    return try value(key, expected: "one of \(names)") { value in
      guard case .string(let text) = value else { return nil }
      return Value(rawValue: text)
    }
  }

  /// A finite number for which `isValid` holds.
  mutating func number(
    _ key: String, expected: String, _ isValid: (Double) -> Bool
  ) throws -> Double? {
    try value(key, expected: expected) { value in
      let number: Double
      switch value {
      case .integer(let integer): number = Double(integer)
      case .number(let real): number = real
      default: return nil
      }
      return number.isFinite && isValid(number) ? number : nil
    }
  }

  mutating func boolean(_ key: String) throws -> Bool? {
    try value(key, expected: "true or false") { value in
      guard case .boolean(let flag) = value else { return nil }
      return flag
    }
  }

  /// What `read` makes of the members of an object.
  mutating func object<Value>(
    _ key: String, _ read: (inout JSONObjectReader) throws -> Value
  ) throws -> Value? {
    guard let value = try value(key, expected: "an object", { $0 }) else { return nil }
    var reader = try JSONObjectReader(value, path: path(of: key), recipe: recipe)
    let found = try read(&reader)
    try reader.finish()
    return found
  }

  /// A pattern or a list of at least one.
  mutating func globs(_ key: String, allowsNone: Bool = false) throws -> [NameGlob]? {
    let patterns: [String]? = try value(key, expected: "a name pattern or a list of them") {
      switch $0 {
      case .string(let pattern): return [pattern]
      case .array(let items):
        let texts = items.compactMap { item -> String? in
          guard case .string(let pattern) = item else { return nil }
          return pattern
        }
        return texts.count == items.count && (allowsNone || !texts.isEmpty) ? texts : nil
      default: return nil
      }
    }
    return try patterns?.map { pattern in
      do {
        return try NameGlob(pattern)
      } catch let failure as ModelError {
        throw error(at: key, "\(failure)")
      }
    }
  }

  /// The path of a member, for a reader of what it holds.
  func path(of key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

  func error(at key: String, _ message: String) -> ModelError {
    .malformed("\(path(of: key)): \(message)", path: recipe)
  }

  /// Checks that every member was asked for.
  ///
  /// - Throws: `ModelError` that names the first that was not, and lists those that were.
  func finish() throws {
    guard let unknown = members.keys.first(where: { !knownKeys.contains($0) }) else { return }
    throw ModelError.malformed(
      (path.isEmpty ? "" : "\(path): ")
        + "unknown key '\(unknown)'; known keys are \(knownKeys.joined(separator: ", "))",
      path: recipe)
  }

  private mutating func known(_ key: String) {
    if !knownKeys.contains(key) { knownKeys.append(key) }
  }
}

extension JSONValue {
  /// The value as an error shows it: scalars as they are written, containers by their kind.
  var kindDescription: String {
    switch self {
    case .array(let items): items.isEmpty ? "an empty list" : "a list"
    case .object: "an object"
    case .string(let text) where text.count > 60: "a text of \(text.count) characters"
    default: serialized()
    }
  }
}
