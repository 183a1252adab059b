import Formats
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
  public var replacements: [NameReplacement] = []

  public init() {}

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
      let replaced = try replacement.applied(to: mappedA)
      guard replaced != mappedA else {
        throw ModelError.mismatch(
          expected: "a tensor name of the first file that '\(replacement.pattern)' changes",
          found: "none")
      }
      mappedA = replaced
    }
    let mappedB = namesB.map(stripped)
    try NameReplacement.checkDistinct(mappedA, from: namesA)
    try NameReplacement.checkDistinct(mappedB, from: namesB)
    return (mappedA, mappedB)
  }

  private func stripped(_ name: String) -> String {
    guard
      let prefix = strippedPrefixes.first(where: { name.hasPrefix($0) && name != $0 })
    else { return name }
    return String(name.dropFirst(prefix.count))
  }
}
