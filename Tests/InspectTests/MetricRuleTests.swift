import Formats
import Foundation
import Inspect
import Storage
import Testing

#if canImport(FoundationXML)
  import FoundationXML
#endif

@Suite struct MetricRuleTests {
  @Test func everyPartOfRuleIsParsed() throws {
    let rule = try MetricRule("  condition>=1e4 on *.qkv.weight ")
    #expect(rule.metric == .condition)
    #expect(rule.comparison == .greaterOrEqual)
    #expect(rule.threshold == 1e4)
    #expect(rule.glob?.pattern == "*.qkv.weight")
    #expect(try MetricRule("nan > 0").glob == nil)
  }

  @Test(arguments: [
    ("bytes > 2 KiB", 2048.0), ("bytes > 1.5MB", 1.5e6), ("zeros < 50%", 0.5),
    ("sqnr4 < 12 dB", 12), ("sqnr2 <= -3", -3), ("condition == inf", .infinity),
    ("kurtosis != .5", 0.5), ("condition > 1E+4 on a", 1e4),
  ])
  func numbersAndUnitsAreParsed(_ text: String, _ threshold: Double) throws {
    #expect(try MetricRule(text).threshold == threshold)
  }

  @Test(arguments: [
    ("condition >> 1", "expected a number at character 12, found '>'"),
    ("condition > 1 MB", "expected 'on' after the number at character 15, found 'MB'"),
    ("zeros > 5 percent", "expected '%' or 'on' after the number at character 11, found 'percent'"),
    ("condition > 1 on", "expected a name pattern after 'on' at character 17, found the end"),
    ("zeros > 5 % for x", "expected 'on' at character 13, found 'for'"),
    ("alpha", "expected a comparison (>, >=, <, <=, ==, !=) at character 6, found the end"),
    ("alpha = 2", "expected a comparison (>, >=, <, <=, ==, !=) at character 7, found '='"),
    ("alpha > nan", "expected a number at character 9, found 'nan'"),
    ("alpha > 1.2.3", "expected a number at character 9, found '1.2.3'"),
  ])
  func syntaxErrorsAreLocated(_ text: String, _ message: String) {
    #expect(throws: ModelError.malformed("the rule '\(text)': \(message)")) {
      try MetricRule(text)
    }
  }

  @Test func unknownMetricListsKnownMetrics() throws {
    let error = #expect(throws: ModelError.self) { try MetricRule("cond\u{1B} > 1") }
    let text = "\(try #require(error))"
    #expect(text.contains("expected one of bytes, elements, condition, "))
    #expect(text.hasSuffix("at character 1, found 'cond'"))
    #expect(!text.contains("\u{1B}"))
  }

  private func outcomes(_ rules: String...) throws -> [RuleOutcome] {
    var options = ModelReport.Options()
    options.rules = try rules.map(MetricRule.init)
    options.sortKey = .name
    let report = try ModelReport(archive: .varied(), file: "m.pth", options: options)
    return try #require(report.rules)
  }

  @Test func offendersAreInFileOrder() throws {
    let outcome = try outcomes("condition > 10 on {layers*,conv*,singular*}")[0]
    #expect(
      outcome.offenders.map(\.layer) == [
        "layers.0.residual_group.blocks.0.attn.qkv.weight", "conv.weight", "singular.weight",
      ])
    #expect(outcome.offenders.map(\.value) == [16, 12, .infinity])
    #expect(!outcome.isPassed)
    #expect(try outcomes("condition > 20 on conv*")[0].isPassed)
  }

  /// A gate must not pass because a number is unavailable.
  @Test func matrixWithoutNumberFailsRule() throws {
    let outcome = try outcomes("condition > 1e9 on {broken,norm,index}*")[0]
    #expect(outcome.layers.map(\.layer) == ["broken.weight"])
    #expect(outcome.offenders.first?.value == nil)
    #expect(
      outcome.offenders.first?.note
        == "no singular values: the element in row 1, column 0 is nan")
    #expect(try outcomes("nan > 0")[0].offenders.map(\.layer) == ["broken.weight"])
  }

  /// These metrics of elements are impossible because of NaN or the range of Float32.
  @Test(arguments: [
    ("sqnr4 < 1", "broken", "1 of its elements are not finite"),
    ("channel-spread > 1e9", "broken", "1 of its elements are not finite"),
    ("alpha < 0", "broken", "no singular values: the element in row 1, column 0 is nan"),
    ("sqnr2 < 1", "tiny", "Float32 cannot hold its values from 1e-60 to 4e-60"),
    ("sqnr3 < 1", "huge", "Float32 cannot hold its values from -1e+300 to 1e+300"),
  ])
  func layerWithoutNumberFailsRule(_ rule: String, _ name: String, _ note: String) throws {
    let archive = TensorArchive([
      "broken.weight": try .of(.float64, [2, 2], [1, 2, Double.nan, 4]),
      "tiny.weight": try .of(.float64, [2, 2], [1e-60, 2e-60, 3e-60, 4e-60]),
      "huge.weight": try .of(.float64, [2, 2], [1e300, -1e300, 0, 1]),
      "plain.weight": try .of(.float64, [2, 2], [1.0, 2, 3, 5]),
      "zero.weight": try .of(.float64, [2, 2], [0.0, 0, 0, 0]),
    ])
    var options = ModelReport.Options()
    options.rules = [try MetricRule("\(rule) on {\(name),plain,zero}*")]
    let report = try ModelReport(archive: archive, file: "m.pth", options: options)
    let outcome = try #require(report.rules?.first)
    #expect(outcome.offenders.map(\.layer) == ["\(name).weight"])
    #expect(outcome.offenders.first?.note == note)
  }

  @Test(arguments: [
    ("condition > 1 on nothing*", "a tensor name that matches 'nothing*' for the rule "),
    ("condition > 1 on norm.bias", "a layer with 'condition' for the rule "),
  ])
  func ruleWithoutLayersIsAnError(_ rule: String, _ expected: String) {
    #expect(throws: ModelError.mismatch(expected: "\(expected)'\(rule)'", found: "none")) {
      try outcomes(rule)
    }
  }

  @Test func junitReportHasOneCasePerLayer() throws {
    let outcomes = try outcomes("condition > 10", "nan > 0 on broken*")
    let xml = JUnitRenderer().render([(file: "a<&\">.pth", outcomes: outcomes)])
    let parser = XMLParser(data: Data(xml.utf8))
    #expect(parser.parse(), "\(String(describing: parser.parserError))")
    #expect(xml.contains("<testsuites name=\"condi-convert inspect\" tests=\"6\" failures=\"5\">"))
    #expect(
      xml.contains(
        "<testsuite name=\"a&lt;&amp;&quot;&gt;.pth: nan &gt; 0 on broken*\" tests=\"1\""))
    #expect(xml.contains("<failure message=\"condition is 12.00\"/>"))
    #expect(xml.contains("<failure message=\"nan is 1\"/>"))
    #expect(xml.contains("message=\"no singular values: the element in row 1, column 0 is nan\""))
    #expect(!xml.contains("<img") && !xml.contains("\u{1B}"))
  }
}
