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
