import FoundationEssentials

/// A result that can be printed in every report format.
///
/// The reports of this module conform; JSON is the value itself, and `schemas` has its schema.
public protocol Report: Encodable, Sendable {
  /// The report as `format`, ending in a line break.
  ///
  /// Names that came from a file are escaped as the format needs it: no control character reaches a
  /// terminal, no markup a page.
  ///
  /// - Parameters:
  ///   - format: the form to write it in.
  ///   - rowLimit: at most so many rows a table, or `nil` for all; JSON has them all.
  ///   - textWidth: columns that plain text may fill; the other formats ignore it.
  /// - Throws: `EncodingError` when the value cannot be encoded as JSON.
  func rendered(as format: ReportFormat, rowLimit: Int?, textWidth: Int) throws -> String
}

extension Report {
  /// The report as `format`, ending in a line break, for 100 columns where it is plain text.
  ///
  /// - Parameters:
  ///   - format: the form to write it in.
  ///   - rowLimit: at most so many rows a table, or `nil` for all; JSON has them all.
  /// - Throws: `EncodingError` when the value cannot be encoded as JSON.
  public func rendered(as format: ReportFormat, rowLimit: Int? = nil) throws -> String {
    try rendered(as: format, rowLimit: rowLimit, textWidth: 100)
  }
}

/// How a report is written, as in `--format csv`.
public enum ReportFormat: String, Sendable, CaseIterable {
  case text, json, csv, markdown, html
}

/// A report that says what it has to say as a document, which the renderers write.
package protocol DocumentedReport: Report {
  /// The report's facts, tables and figures.
  var document: ReportDocument { get }

  /// The report as plain text, where that is not just its document laid out.
  ///
  /// - Parameters:
  ///   - width: columns that the text may fill.
  ///   - rowLimit: at most so many rows a table.
  func text(width: Int, rowLimit: Int?) -> String
}

extension DocumentedReport {
  package func text(width: Int, rowLimit: Int?) -> String {
    TextRenderer(width: width).render(limitedDocument(rowLimit))
  }

  public func rendered(as format: ReportFormat, rowLimit: Int?, textWidth: Int) throws -> String {
    switch format {
    case .text: text(width: textWidth, rowLimit: rowLimit)
    case .json: try ReportJSON.encode(self)
    case .csv: CSVRenderer().render(limitedDocument(rowLimit))
    case .markdown: MarkdownRenderer().render(limitedDocument(rowLimit))
    case .html: HTMLRenderer().render(limitedDocument(rowLimit))
    }
  }

  private func limitedDocument(_ rowLimit: Int?) -> ReportDocument {
    rowLimit.map { document.limitingRows(to: $0) } ?? document
  }
}

/// The JSON form of reports: sorted keys, indented, absent values left out, and numbers that JSON
/// lacks as the texts `"inf"`, `"-inf"` and `"nan"`.
package enum ReportJSON {
  /// - Returns: one JSON document that ends in a line break.
  package static func encode(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    return String(decoding: try encoder.encode(value), as: UTF8.self) + "\n"
  }

  /// - Throws: `DecodingError` when `json` is not what `encode` makes of a `Value`.
  package static func decode<Value: Decodable>(_ type: Value.Type, from json: String) throws
    -> Value
  {
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    return try decoder.decode(type, from: Data(json.utf8))
  }
}
