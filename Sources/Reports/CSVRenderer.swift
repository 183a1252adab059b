import Storage

/// Renders the main table as comma-separated values (RFC 4180, UTF-8): a header line, CRLF line
/// ends, numbers in full precision, and bytes as plain counts.
///
/// Control characters in texts are escaped as in every report, so each line is one row.
struct CSVRenderer {
  func render(_ document: ReportDocument) -> String {
    guard let table = document.tables.first?.selectingColumns({ $0.audience != .people }) else {
      return ""
    }
    let lines = [table.columns.map(\.key)] + table.rows.map { $0.map(\.plain) }
    return lines.map { $0.map(field).joined(separator: ",") + "\r\n" }.joined()
  }

  private func field(_ value: String) -> String {
    let text = value.escapingControlCharacters
    guard text.contains(where: { $0 == "," || $0 == "\"" }) else { return text }
    return "\"\(text.replacing("\"", with: "\"\""))\""
  }
}
