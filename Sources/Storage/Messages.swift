/// Returns a number with its noun: `1 tensor`, `2 tensors`, `2 entries`, `2 patches`.
///
/// - Parameter noun: a regular noun in the singular.
package func counted(_ count: Int, _ noun: String) -> String {
  guard count != 1 else { return "1 \(noun)" }
  if noun.hasSuffix("y"), !["ay", "ey", "oy", "uy"].contains(String(noun.suffix(2))) {
    return "\(count) \(noun.dropLast())ies"
  }
  let takesE = ["s", "x", "z", "ch", "sh"].contains { noun.hasSuffix($0) }
  return "\(count) \(noun)\(takesE ? "es" : "s")"
}

extension String {
  /// The string with control characters, line separators and text-direction overrides escaped as
  /// `\u{…}`, so that a name from a file cannot change the display of a terminal or a report.
  package var escapingControlCharacters: String {
    guard unicodeScalars.contains(where: \.changesDisplay) else { return self }
    return unicodeScalars.map { scalar in
      scalar.changesDisplay ? "\\u{\(String(scalar.value, radix: 16))}" : String(scalar)
    }.joined()
  }
}

extension Unicode.Scalar {
  fileprivate var changesDisplay: Bool {
    // ASCII without the slow look-up.
    if isASCII { return value < 0x20 || value == 0x7F }
    return switch properties.generalCategory {
    case .control, .lineSeparator, .paragraphSeparator, .surrogate: true
    case .format: value != 0x200D  // the zero-width joiner only shapes letters
    default: false
    }
  }
}
