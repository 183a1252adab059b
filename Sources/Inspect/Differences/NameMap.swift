import Glibc
import Storage

/// How the names of one file become those of another: prefixes that are left out, and replacements.
public struct NameMap: Sendable {
  /// Beginnings that are left out of the names of both files, such as `module.`; of each name the
  /// first that it has.
  public var strippedPrefixes: [String] = []
  /// Replacements in the names of A, in order.
  public var replacements: [Replacement] = []

  public init() {}

  /// A regular expression, and what takes the place of every part of a name that it matches.
  public struct Replacement: Hashable, Sendable {
    /// As Swift's `Regex` has it: much as in Perl and Python, without lookbehind.
    public let pattern: String
    /// `$1` to `$9` stand for what the groups matched, `$0` for all of it.
    public let template: String

    /// A replacement; its pattern is compiled to see that it is one.
    ///
    /// - Throws: `ModelError` when `pattern` is no regular expression.
    public init(pattern: String, template: String) throws {
      self.pattern = pattern
      self.template = template
      _ = try expression()
    }

    fileprivate func expression() throws -> Regex<AnyRegexOutput> {
      do {
        return try Regex(pattern).matchingSemantics(.unicodeScalar)
      } catch {
        throw ModelError.malformed("'\(pattern)' is not a regular expression")
      }
    }

    /// The template with the groups of a match; a backslash before a character stands for that.
    fileprivate func text(for groups: AnyRegexOutput) -> String {
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

  /// The names of both files after the map, in their order.
  ///
  /// - Throws: `ModelError` when a prefix begins no name, a replacement changes none, or two names
  ///   of a file become the same.
  func mapped(_ namesA: [String], _ namesB: [String]) throws -> (a: [String], b: [String]) {
    for prefix in strippedPrefixes
    where !(namesA + namesB).contains(where: { $0.hasPrefix(prefix) && $0 != prefix }) {
      throw ModelError.mismatch(
        expected: "a tensor name that begins with '\(prefix)'", found: "none")
    }
    var mappedA = namesA.map(stripped)
    for replacement in replacements {
      let expression = try replacement.expression()
      let replaced = mappedA.map { name in
        name.replacing(expression) { replacement.text(for: $0.output) }
      }
      guard replaced != mappedA else {
        throw ModelError.mismatch(
          expected: "a tensor name of the first file that '\(replacement.pattern)' changes",
          found: "none")
      }
      mappedA = replaced
    }
    let mappedB = namesB.map(stripped)
    try Self.checkDistinct(mappedA, from: namesA)
    try Self.checkDistinct(mappedB, from: namesB)
    return (mappedA, mappedB)
  }

  private func stripped(_ name: String) -> String {
    guard
      let prefix = strippedPrefixes.first(where: { name.hasPrefix($0) && name != $0 })
    else { return name }
    return String(name.dropFirst(prefix.count))
  }

  private static func checkDistinct(_ mapped: [String], from names: [String]) throws {
    var origins: [String: String] = [:]
    for (name, origin) in zip(mapped, names) {
      guard let other = origins.updateValue(origin, forKey: name) else { continue }
      throw ModelError.malformed("'\(other)' and '\(origin)' both become '\(name)'")
    }
  }
}
