/// The contents of a report, before they are rendered as text, CSV, Markdown or HTML.
///
/// Strings are raw, including file names and tensor names; every renderer escapes them.
package struct ReportDocument: Hashable, Sendable {
  package var title: String
  /// Facts shown before the tables.
  package var summary: [Fact]
  /// The tables. The first is the main one, and the only one in CSV.
  package var tables: [ReportTable]
  /// Sentences shown after the tables.
  package var notes: [String]
  /// Drawings, which only HTML contains. They show only data that the value itself contains.
  package var figures: [ReportFigure]

  package init(
    title: String, summary: [Fact], tables: [ReportTable], notes: [String] = [],
    figures: [ReportFigure] = []
  ) {
    self.title = title
    self.summary = summary
    self.tables = tables
    self.notes = notes
    self.figures = figures
  }

  /// A labelled value of the summary.
  package struct Fact: Hashable, Sendable {
    package var label: String
    package var value: ReportCell
    package var kind: ReportTable.Column.Kind

    package init(_ label: String, _ value: ReportCell, kind: ReportTable.Column.Kind) {
      self.label = label
      self.value = value
      self.kind = kind
    }

    package init(_ label: String, _ text: String) {
      self.init(label, .text(text), kind: .text)
    }
  }
}

extension ReportDocument {
  /// Returns the document with at most `count` rows per table, except in summaries. The title of a
  /// truncated table gives the total.
  package func limitingRows(to count: Int) -> ReportDocument {
    var document = self
    document.tables = tables.map { table in
      guard table.rows.count > count, !table.isSummary else { return table }
      return ReportTable(
        title: "\(table.title) (the first \(count) of \(table.rows.count))",
        columns: table.columns, rows: Array(table.rows.prefix(count)))
    }
    return document
  }
}
