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
