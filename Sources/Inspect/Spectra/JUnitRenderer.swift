import Reports

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
        "    <testcase classname=\"\("\(file): \(outcome.rule)".escapingMarkup)\" "
        + "name=\"\(finding.layer.escapingMarkup)\""
      guard finding.isOffender else { return start + "/>" }
      let message =
        finding.value.map { "\(outcome.metric.rawValue) is \(outcome.metric.formatted($0))" }
        ?? finding.note ?? "no \(outcome.metric.rawValue)"
      return start + "><failure message=\"\(message.escapingMarkup)\"/></testcase>"
    }
    return """
        <testsuite name="\("\(file): \(outcome.rule)".escapingMarkup)" \
      tests="\(outcome.layers.count)" failures="\(outcome.offenders.count)">
      \(cases.joined(separator: "\n"))
        </testsuite>
      """
  }
}
