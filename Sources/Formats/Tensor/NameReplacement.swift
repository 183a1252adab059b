import Storage

/// A regular expression and the replacement for every match in a name.
///
/// ```swift
/// let layers = try NameReplacement(pattern: #"^blocks\.(\d+)"#, template: "layers.$1")
/// print(try layers.applied(to: ["blocks.3.weight", "head.weight"]))
/// // ["layers.3.weight", "head.weight"]
/// ```
public struct NameReplacement: Hashable, Sendable {
  /// The pattern in the syntax of Swift's `Regex`: similar to Perl's and Python's, without
  /// lookbehind.
  public let pattern: String
  /// The replacement, in which `$1` to `$9` stand for the groups and `$0` for the whole match.
  public let template: String

  /// Creates a replacement after validating its pattern.
  ///
  /// - Throws: `ModelError` if `pattern` is not a regular expression.
  public init(pattern: String, template: String) throws {
    self.pattern = pattern
    self.template = template
    _ = try expression()
  }

  /// Returns each name with every match replaced.
  ///
  /// - Throws: `ModelError` if `pattern` is not a regular expression.
  public func applied(to names: [String]) throws -> [String] {
    let expression = try expression()
    return names.map { name in name.replacing(expression) { text(for: $0.output) } }
  }

  /// Checks that the names into which `origins` were changed are distinct.
  ///
  /// - Throws: `ModelError` that names two origins that become equal.
  package static func checkDistinct(_ names: [String], from origins: [String]) throws {
    var originOfName: [String: String] = [:]
    for (name, origin) in zip(names, origins) {
      guard let other = originOfName.updateValue(origin, forKey: name) else { continue }
      throw ModelError.malformed("'\(other)' and '\(origin)' both become '\(name)'")
    }
  }

  private func expression() throws -> Regex<AnyRegexOutput> {
    do {
      return try Regex(pattern).matchingSemantics(.unicodeScalar)
    } catch {
      throw ModelError.malformed("'\(pattern)' is not a valid regular expression")
    }
  }

  /// Returns the template with a match's groups inserted; a backslash escapes the next character.
  private func text(for groups: AnyRegexOutput) -> String {
    var text = ""
    var rest = template[...]
    while let character = rest.popFirst() {
      if character == "\\", let escaped = rest.popFirst() {
        text.append(escaped)
      } else if character == "$", let group = rest.first.flatMap({ Int(String($0)) }) {
        rest.removeFirst()
        if group < groups.count { text += groups[group].substring ?? "" }
      } else {
        text.append(character)
      }
    }
    return text
  }
}
