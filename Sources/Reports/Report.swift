import FoundationEssentials

/// A result that can be printed in every report format.
///
/// The reports of this package conform. The JSON form is the value itself; its schema is in
/// `schemas`.
///
/// ```swift
/// func show(_ report: some Report) throws {
///   print(try report.rendered(as: .text, rowLimit: 20))
/// }
/// try show(AuditReport(auditing: "download.pkl"))
/// ```
public protocol Report: Encodable, Sendable {
  /// Returns the report in `format`, ending in a line break.
  ///
  /// Names from a file are escaped as the format requires: no control character reaches a terminal
  /// and no markup reaches a page.
  ///
  /// - Parameters:
  ///   - format: The output format.
  ///   - rowLimit: The largest number of rows per table, or `nil` for all; ignored by JSON.
  ///   - textWidth: The width of plain text in columns; ignored by the other formats.
  /// - Throws: `EncodingError` if the value cannot be encoded as JSON.
  func rendered(as format: ReportFormat, rowLimit: Int?, textWidth: Int) throws -> String
}

extension Report {
  /// Returns the report in `format`, ending in a line break. Plain text is 100 columns wide.
  ///
  /// - Parameters:
  ///   - format: The output format.
  ///   - rowLimit: The largest number of rows per table, or `nil` for all; ignored by JSON.
  /// - Throws: `EncodingError` if the value cannot be encoded as JSON.
  public func rendered(as format: ReportFormat, rowLimit: Int? = nil) throws -> String {
    try rendered(as: format, rowLimit: rowLimit, textWidth: 100)
  }
}

/// A format for reports, as in `--format csv`.
///
/// ```swift
/// let report = try AuditReport(auditing: "download.pkl")
/// for format in [ReportFormat.json, .html] {
///   let url = URL(filePath: "audit.\(format.rawValue)")
///   try Data(report.rendered(as: format).utf8).write(to: url)
/// }
/// ```
public enum ReportFormat: String, Sendable, CaseIterable {
  case text, json, csv, markdown, html
}

/// A report that presents its contents as a document for the renderers.
package protocol DocumentedReport: Report {
  /// The report's facts, tables and figures.
  var document: ReportDocument { get }

  /// The same for plain text, which may list less.
  var textDocument: ReportDocument { get }

  /// Returns the report as plain text, for reports whose text is not just the document's layout.
  ///
  /// - Parameters:
  ///   - width: The width of the text in columns.
  ///   - rowLimit: The largest number of rows per table.
  func text(width: Int, rowLimit: Int?) -> String
}

extension DocumentedReport {
  package var textDocument: ReportDocument { document }

  package func text(width: Int, rowLimit: Int?) -> String {
    let document = textDocument
    return TextRenderer(width: width).render(
      rowLimit.map { document.limitingRows(to: $0) } ?? document)
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

/// The JSON form of reports: sorted keys, indented, without absent values. Numbers that JSON lacks
/// are the strings `"inf"`, `"-inf"` and `"nan"`.
package enum ReportJSON {
  /// Encodes `value`.
  ///
  /// - Returns: A JSON document that ends in a line break.
  package static func encode(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    return String(decoding: try encoder.encode(value), as: UTF8.self) + "\n"
  }

  /// Decodes a value encoded by `encode`.
  ///
  /// - Throws: `DecodingError` if `json` does not represent a `Value`.
  package static func decode<Value: Decodable>(_ type: Value.Type, from json: String) throws
    -> Value
  {
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    return try decoder.decode(type, from: Data(json.utf8))
  }
}
