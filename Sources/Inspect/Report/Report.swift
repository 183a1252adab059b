/// A result that can be printed in every report format.
///
/// JSON is the value itself; the other formats render its document.
public protocol Report: Encodable, Sendable {
  var document: ReportDocument { get }

  /// The report as plain text, where that is not just its document laid out.
  ///
  /// - Parameters:
  ///   - width: columns that the text may fill.
  ///   - rowLimit: at most so many rows a table.
  func text(width: Int, rowLimit: Int?) -> String
}

extension Report {
  public func text(width: Int, rowLimit: Int?) -> String {
    let document = rowLimit.map { self.document.limitingRows(to: $0) } ?? self.document
    return TextRenderer(width: width).render(document)
  }
}

/// How a report is written, as in `--format csv`.
public enum ReportFormat: String, Sendable, CaseIterable {
  case text, json, csv, markdown, html
}

extension Report {
  /// The report as `format`, ending in a line break.
  ///
  /// - Parameters:
  ///   - rowLimit: at most so many rows a table; JSON has them all.
  ///   - textWidth: columns that plain text may fill; the other formats ignore it.
  /// - Throws: `EncodingError` when the value cannot be encoded as JSON.
  public func rendered(as format: ReportFormat, rowLimit: Int? = nil, textWidth: Int = 100) throws
    -> String
  {
    let whole = self.document
    let document = rowLimit.map { whole.limitingRows(to: $0) } ?? whole
    return switch format {
    case .text: text(width: textWidth, rowLimit: rowLimit)
    case .json: try ReportJSON.encode(self)
    case .csv: CSVRenderer().render(document)
    case .markdown: MarkdownRenderer().render(document)
    case .html: HTMLRenderer().render(document)
    }
  }
}
