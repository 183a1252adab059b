import Glibc
import Storage

/// A mapping of the names of one file to those of another: removed prefixes and replacements.
///
/// ```swift
/// var options = DiffReport.Options()
/// options.names.strippedPrefixes = ["module."]
/// options.names.replacements = [try .init(pattern: #"^blocks\.(\d+)"#, template: "layers.$1")]
/// let (a, b) = try (FormatRegistry.standard.open("a.pth"), FormatRegistry.standard.open("b.pth"))
/// print(try DiffReport(a, b, fileA: "a.pth", fileB: "b.pth", options: options).verdict)
/// ```
public struct NameMap: Sendable {
  /// Prefixes that are removed from the names of both files, such as `module.`; only the first that
  /// matches a name is removed.
  public var strippedPrefixes: [String] = []
  /// Replacements in the names of A, applied in order.
  public var replacements: [Replacement] = []

  public init() {}

  /// A regular expression and the replacement for every match in a name.
  public struct Replacement: Hashable, Sendable {
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

    fileprivate func expression() throws -> Regex<AnyRegexOutput> {
      do {
        return try Regex(pattern).matchingSemantics(.unicodeScalar)
      } catch {
        throw ModelError.malformed("'\(pattern)' is not a valid regular expression")
      }
    }

    /// Returns the template with a match's groups inserted; a backslash escapes the next character.
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

  /// Returns the mapped names of both files, in order.
  ///
  /// - Throws: `ModelError` if a prefix matches no name, a replacement changes no name, or two
  ///   names of a file become equal.
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
