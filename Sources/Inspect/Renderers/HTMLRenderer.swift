import Formats
import Foundation

/// One self-contained HTML page: no files or scripts from elsewhere, light and dark, readable on a
/// phone, tables that sort by a click on a heading.
///
/// Every text is escaped, and the page's content security policy forbids loading anything.
struct HTMLRenderer {
  func render(_ document: ReportDocument) -> String {
    var body: [String] = ["<h1>\(escaped(document.title))</h1>"]
    if !document.summary.isEmpty { body.append(summary(document.summary)) }
    body += document.tables.map { section($0.selectingColumns { $0.audience != .programs }) }
    body += document.notes.map { "<p class=\"note\">\(escaped($0))</p>" }
    return """
      <!DOCTYPE html>
      <html lang="en">
      <head>
      <meta charset="utf-8">
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
      style-src 'unsafe-inline'; script-src 'unsafe-inline'">
      <title>\(escaped(document.title))</title>
      <style>
      \(Self.style)
      </style>
      </head>
      <body>
      <main>
      \(body.joined(separator: "\n"))
      </main>
      <script>
      \(Self.script)
      </script>
      </body>
      </html>

      """
  }

  private func summary(_ facts: [ReportDocument.Fact]) -> String {
    let items = facts.map { fact in
      "<div><dt>\(escaped(fact.label))</dt>"
        + "<dd>\(escaped(fact.value.formatted(as: fact.kind)))</dd></div>"
    }
    return "<dl>\n\(items.joined(separator: "\n"))\n</dl>"
  }

  private func section(_ table: ReportTable) -> String {
    let title = "<h2>\(escaped(table.title))</h2>"
    guard !table.rows.isEmpty else { return "<section>\(title)\n<p>None.</p></section>" }
    let headings = table.columns.map { column in
      "<th scope=\"col\"\(numericClass(column))>"
        + "<button type=\"button\">\(escaped(column.heading))</button></th>"
    }
    let scales = table.columns.indices.map { scale(of: $0, in: table) }
    let rows = table.rows.map { row in
      let cells = row.indices.map { cell(row[$0], table.columns[$0], scale: scales[$0]) }
      return "<tr>\(cells.joined())</tr>"
    }
    return """
      <section>\(title)
      <div class="scroll"><table>
      <thead><tr>\(headings.joined())</tr></thead>
      <tbody>
      \(rows.joined(separator: "\n"))
      </tbody>
      </table></div></section>
      """
  }

  private func numericClass(_ column: ReportTable.Column) -> String {
    if column.hasBar { return " class=\"number bar\"" }
    switch column.kind {
    case .text: return ""
    case .remark: return " class=\"remark\""
    case .integer, .real, .share, .bytes: return " class=\"number\""
    }
  }

  private func cell(_ value: ReportCell, _ column: ReportTable.Column, scale: Double) -> String {
    let text = escaped(value.formatted(as: column.kind))
    var attributes = numericClass(column)
    if let number = value.number {
      attributes += " data-value=\"\(number)\""
      if number != number.rounded() || column.kind == .bytes {
        attributes += " title=\"\(value.plain)\""
      }
    }
    guard column.hasBar, let number = value.number else { return "<td\(attributes)>\(text)</td>" }
    let share = number.isFinite ? (scale > 0 ? max(0, log10(number)) / scale : 0) : 1
    let percent = String(format: "%.1f", min(1, share) * 100)
    let kind = number.isFinite ? "" : " class=\"infinite\""
    return "<td\(attributes)>\(text)<i\(kind) style=\"width:\(percent)%\"></i></td>"
  }

  /// The decimal logarithm that a full bar stands for: that of the largest finite value.
  private func scale(of column: Int, in table: ReportTable) -> Double {
    guard table.columns[column].hasBar else { return 0 }
    let largest = table.rows.compactMap { $0[column].number }.filter(\.isFinite).max() ?? 1
    return log10(max(1, largest))
  }

  /// `text` with control characters made visible and HTML's own characters as entities.
  private func escaped(_ text: String) -> String {
    var escaped = ""
    for scalar in text.escapingControlCharacters.unicodeScalars {
      switch scalar {
      case "&": escaped += "&amp;"
      case "<": escaped += "&lt;"
      case ">": escaped += "&gt;"
      case "\"": escaped += "&quot;"
      case "'": escaped += "&#39;"
      default: escaped.unicodeScalars.append(scalar)
      }
    }
    return escaped
  }
}
