/// A result that can be printed in every report format.
///
/// JSON is the value itself; the other formats render its document.
public protocol Report: Encodable, Sendable {
  var document: ReportDocument { get }
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
    case .text: TextRenderer(width: textWidth).render(document)
    case .json: try ReportJSON.encode(self)
    case .csv: CSVRenderer().render(document)
    case .markdown: MarkdownRenderer().render(document)
    case .html: HTMLRenderer().render(document)
    }
  }
}
