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
