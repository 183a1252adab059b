import Formats

/// What became of a rule: which layers it looked at, and which of them it found.
public struct RuleOutcome: Codable, Hashable, Sendable {
  /// The rule as it was written.
  public var rule: String
  /// The number that the rule compares.
  public var metric: LayerMetric
  /// Every layer that the rule is for, in the file's order, but those that cannot have the metric, as
  /// a vector has no condition number.
  public var layers: [Finding]

  /// One layer under a rule.
  public struct Finding: Codable, Hashable, Sendable {
    /// The tensor's name, with the part.
    public var layer: String
    /// `nil` when the layer lacks the number that it should have; it fails then.
    public var value: Double?
    /// Whether the rule's condition holds for the layer, or cannot be checked for want of a number.
    public var isOffender: Bool
    /// Why there is no number; `nil` where there is one.
    public var note: String?
  }

  /// The layers that fail, in the file's order.
  public var offenders: [Finding] { layers.filter(\.isOffender) }
  /// Whether no layer fails.
  public var isPassed: Bool { offenders.isEmpty }

  /// - Throws: `FormatError` when the rule's glob matches no layer, or no layer has the metric: a
  ///   check of nothing is not passed.
  ///
  /// - Parameter layers: in the file's order.
  package init(of rule: MetricRule, on layers: [LayerReport]) throws {
    let matching = layers.filter { rule.glob?.matches($0.name) ?? true }
    guard !matching.isEmpty else {
      throw FormatError.mismatch(
        expected:
          "a tensor name that matches '\(rule.glob?.pattern ?? "*")' for the rule '\(rule)'",
        found: "none")
    }
    self.rule = rule.description
    metric = rule.metric
    self.layers = matching.compactMap { layer in
      if let obstacle = rule.metric.obstacle(in: layer) {
        return Finding(layer: layer.title, value: nil, isOffender: true, note: obstacle)
      }
      guard let value = rule.metric.value(of: layer) else { return nil }
      return Finding(
        layer: layer.title, value: value, isOffender: rule.comparison.holds(value, rule.threshold),
        note: nil)
    }
    guard !self.layers.isEmpty else {
      throw FormatError.mismatch(
        expected: "a layer with '\(rule.metric.rawValue)' for the rule '\(rule)'", found: "none")
    }
  }
}
