import Formats
import Storage

/// A condition that no layer may meet: `condition > 1e4 on *.qkv.weight`.
///
/// The grammar is `metric comparison number [unit] [on glob]`. A metric is a `LayerMetric`, a
/// comparison one of `>`, `>=`, `<`, `<=`, `==`, `!=`; units are `%` for shares, `dB` for SQNR, and
/// `B`, `kB`, `MB`, `GB`, `KiB`, `MiB`, `GiB` for bytes. Without a glob the rule applies to all
/// layers.
package struct MetricRule: Hashable, Sendable, CustomStringConvertible {
  /// A comparison of a layer's number, on the left, with the threshold.
  package enum Comparison: String, Sendable, CaseIterable {
    // Longer ones come first, because the scanner takes the first match.
    case greaterOrEqual = ">="
    case lessOrEqual = "<="
    case equal = "=="
    case notEqual = "!="
    case greater = ">"
    case less = "<"

    func holds(_ left: Double, _ right: Double) -> Bool {
      switch self {
      case .greater: left > right
      case .greaterOrEqual: left >= right
      case .less: left < right
      case .lessOrEqual: left <= right
      case .equal: left == right
      case .notEqual: left != right
      }
    }
  }

  /// The rule's original text.
  package let description: String
  /// The number that is compared for each layer.
  package let metric: LayerMetric
  /// The comparison that must not hold between a layer's number and the threshold.
  package let comparison: Comparison
  /// The threshold in the metric's own unit: bytes, fractions of one, dB.
  package let threshold: Double
  /// The names that the rule applies to; `nil` for all.
  package let glob: NameGlob?

  /// Parses a rule in the grammar above.
  ///
  /// - Throws: `ModelError` stating what was expected at which character, counted from 1.
  package init(_ text: String) throws {
    var scanner = RuleScanner(text)
    description = text
    let names = LayerMetric.allCases.map(\.rawValue).joined(separator: ", ")
    let metricPosition = scanner.positionOfNext
    let name = scanner.word { $0.isLetter || $0.isNumber || $0 == "-" }
    guard let metric = LayerMetric(rawValue: name) else {
      throw scanner.expected("one of \(names)", found: name, at: metricPosition)
    }
    self.metric = metric

    guard let comparison = Comparison.allCases.first(where: { scanner.take($0.rawValue) }) else {
      throw scanner.expected("a comparison (>, >=, <, <=, ==, !=)")
    }
    self.comparison = comparison

    let numberPosition = scanner.positionOfNext
    let digits = scanner.number()
    guard let number = Double(digits), !number.isNaN else {
      throw digits.isEmpty
        ? scanner.expected("a number")
        : scanner.expected("a number", found: digits, at: numberPosition)
    }
    let unitPosition = scanner.positionOfNext
    let unit = scanner.word { !$0.isWhitespace }
    var globText: String?
    if unit == "on" {
      globText = scanner.rest()
      threshold = number
    } else {
      guard let factor = unit.isEmpty ? 1 : metric.units[unit] else {
        let units = metric.units.keys.sorted().map { "'\($0)'" }.joined(separator: ", ")
        let choice = units.isEmpty ? "'on'" : "\(units) or 'on'"
        throw scanner.expected("\(choice) after the number", found: unit, at: unitPosition)
      }
      threshold = number * factor
      if !scanner.isAtEnd {
        let position = scanner.positionOfNext
        let word = scanner.word { !$0.isWhitespace }
        guard word == "on" else { throw scanner.expected("'on'", found: word, at: position) }
        globText = scanner.rest()
      }
    }
    if let globText {
      guard !globText.isEmpty else { throw scanner.expected("a name pattern after 'on'") }
      glob = try NameGlob(globText)
    } else {
      glob = nil
    }
  }
}

/// Scans a rule from left to right.
private struct RuleScanner {
  private let text: [Character]
  private var position = 0

  init(_ text: String) {
    self.text = Array(text)
  }

  var isAtEnd: Bool { positionOfNext == text.count }

  /// The index of the next non-blank character, from 0.
  var positionOfNext: Int {
    text[position...].firstIndex { !$0.isWhitespace } ?? text.count
  }

  mutating func word(_ isIncluded: (Character) -> Bool) -> String {
    position = positionOfNext
    let word = text[position...].prefix(while: isIncluded)
    position += word.count
    return String(word)
  }

  /// Reads the characters of a number: digits with sign, point and exponent, or `inf`.
  mutating func number() -> String {
    position = positionOfNext
    let rest = String(text[position...])
    if let match = rest.prefixMatch(of: /[+-]?(inf\b|[0-9.]+([eE][+-]?[0-9]+)?)/) {
      position += match.output.0.count
      return String(match.output.0)
    }
    return ""
  }

  mutating func take(_ token: String) -> Bool {
    let start = positionOfNext
    guard text[start...].starts(with: token) else { return false }
    position = start + token.count
    return true
  }

  mutating func rest() -> String {
    let start = positionOfNext
    let end = text.lastIndex { !$0.isWhitespace }.map { $0 + 1 } ?? start
    position = text.count
    return start < end ? String(text[start..<end]) : ""
  }

  /// Returns the error for a missing `what` at the next position.
  func expected(_ what: String) -> ModelError {
    let start = positionOfNext
    let found = String(text[start...].prefix { !$0.isWhitespace })
    return expected(what, found: found, at: start)
  }

  func expected(_ what: String, found: String, at position: Int) -> ModelError {
    ModelError.malformed(
      "the rule '\(String(text).escapingControlCharacters)': expected \(what) at character "
        + "\(position + 1), found "
        + (found.isEmpty ? "the end" : "'\(found.escapingControlCharacters)'"))
  }
}

/// The result of a rule: the layers it was applied to and those that failed.
package struct RuleOutcome: Codable, Hashable, Sendable {
  /// The rule's original text.
  package var rule: String
  /// The number that the rule compares.
  package var metric: LayerMetric
  /// Every layer that the rule applies to, in file order, except layers for which the metric is
  /// undefined, such as the condition number of a vector.
  package var layers: [Finding]

  /// The result of a rule for one layer.
  package struct Finding: Codable, Hashable, Sendable {
    /// The tensor's name, with the part.
    package var layer: String
    /// The number; `nil` if the layer lacks a number it should have, in which case it fails.
    package var value: Double?
    /// Whether the rule's condition holds for the layer, or the number needed to check it is
    /// missing.
    package var isOffender: Bool
    /// The reason there is no number; `nil` if there is one.
    package var note: String?
  }

  /// The layers that fail, in file order.
  package var offenders: [Finding] { layers.filter(\.isOffender) }
  /// Whether all layers pass.
  package var isPassed: Bool { offenders.isEmpty }

  /// Applies a rule.
  ///
  /// - Parameter layers: The layers in file order.
  /// - Throws: `ModelError` if the rule's glob matches no layer, or no layer has the metric: a rule
  ///   that checks nothing does not pass.
  package init(of rule: MetricRule, on layers: [LayerReport]) throws {
    let matching = layers.filter { rule.glob?.matches($0.name) ?? true }
    guard !matching.isEmpty else {
      throw ModelError.mismatch(
        expected:
          "a tensor name that matches '\(rule.glob?.pattern ?? "*")' for the rule '\(rule)'",
        found: "none" + (rule.glob?.suggestion(among: layers.map(\.name)) ?? ""))
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
      throw ModelError.mismatch(
        expected: "a layer with '\(rule.metric.rawValue)' for the rule '\(rule)'", found: "none")
    }
  }
}

/// The units of byte counts: `kB`, `MB` and `GB` are powers of 1,000; `KiB`, `MiB` and `GiB` are
/// powers of 1,024 (IEC 80000-13).
package enum ByteUnit {
  /// The number of bytes per unit, by its symbol.
  static let factors: [String: Double] = [
    "B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 0x1p10, "MiB": 0x1p20, "GiB": 0x1p30,
  ]

  /// Returns the byte count in a text such as `700000`, `700KB`, `1.5MB` or `2GiB`; `nil` for any
  /// other text and for counts less than 1.
  ///
  /// The common spelling `KB` means `kB`. Fractions of a byte are truncated.
  package static func byteCount(of text: String) -> Int? {
    let digits = text.prefix { ("0"..."9").contains($0) || $0 == "." }
    let symbol = text.dropFirst(digits.count).drop { $0 == " " }
    if symbol.isEmpty, let count = Int(digits) { return count > 0 ? count : nil }
    guard let number = Double(digits),
      let factor = symbol.isEmpty ? 1 : factors[symbol == "KB" ? "kB" : String(symbol)],
      let count = Int(exactly: (number * factor).rounded(.down)), count > 0
    else { return nil }
    return count
  }
}
