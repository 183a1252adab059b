/// What a report says, before it is text, CSV, Markdown or HTML.
///
/// Texts are as they came, from file names and tensor names too: every renderer escapes them.
package struct ReportDocument: Hashable, Sendable {
  package var title: String
  /// A few facts that stand before the tables.
  package var summary: [Fact]
  /// The first table is the main one, and the only one in CSV.
  package var tables: [ReportTable]
  /// Sentences that stand after the tables.
  package var notes: [String]
  /// Drawings, which only HTML has; they show nothing that the value itself does not have.
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
  /// The document with at most `count` rows a table, but for summaries; a table's title says when
  /// there are more.
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
