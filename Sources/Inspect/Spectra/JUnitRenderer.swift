/// Renders outcomes of rules as JUnit XML for CI systems, with one test suite per model and rule
/// and one test case per layer.
package struct JUnitRenderer: Sendable {
  package init() {}

  /// Returns the XML document.
  ///
  /// - Parameter models: Each model's path with the outcomes of its rules.
  package func render(_ models: [(file: String, outcomes: [RuleOutcome])]) -> String {
    let outcomes = models.flatMap(\.outcomes)
    let cases = outcomes.reduce(0) { $0 + $1.layers.count }
    let failures = outcomes.reduce(0) { $0 + $1.offenders.count }
    let suites = models.flatMap { model in
      model.outcomes.map { suite($0, file: model.file) }
    }
    return """
      <?xml version="1.0" encoding="UTF-8"?>
      <testsuites name="condi-convert inspect" tests="\(cases)" failures="\(failures)">
      \(suites.joined(separator: "\n"))
      </testsuites>

      """
  }

  private func suite(_ outcome: RuleOutcome, file: String) -> String {
    let cases = outcome.layers.map { finding in
      let start =
        "    <testcase classname=\"\(escaped("\(file): \(outcome.rule)"))\" "
        + "name=\"\(escaped(finding.layer))\""
      guard finding.isOffender else { return start + "/>" }
      let message =
        finding.value.map { "\(outcome.metric.rawValue) is \(outcome.metric.formatted($0))" }
        ?? finding.note ?? "no \(outcome.metric.rawValue)"
      return start + "><failure message=\"\(escaped(message))\"/></testcase>"
    }
    return """
        <testsuite name="\(escaped("\(file): \(outcome.rule)"))" \
      tests="\(outcome.layers.count)" failures="\(outcome.offenders.count)">
      \(cases.joined(separator: "\n"))
        </testsuite>
      """
  }

  /// Returns `text` with XML's special characters as entities, control characters, which XML 1.0
  /// forbids, made visible, and its two noncharacters replaced by U+FFFD.
  private func escaped(_ text: String) -> String {
    var escaped = ""
    for scalar in text.escapingControlCharacters.unicodeScalars {
      switch scalar {
      case "&": escaped += "&amp;"
      case "<": escaped += "&lt;"
      case ">": escaped += "&gt;"
      case "\"": escaped += "&quot;"
      case "'": escaped += "&apos;"
      case "\u{FFFE}", "\u{FFFF}": escaped += "\u{FFFD}"
      default: escaped.unicodeScalars.append(scalar)
      }
    }
    return escaped
  }
}
