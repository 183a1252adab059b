import Glibc
import OrderedCollections
import Storage

/// Renders a self-contained HTML page: no external files or scripts, light and dark, readable on a
/// phone. Tables have a filter and sort when a heading is clicked. The page's fragment presets
/// both, with the keys of CSV: `#filter=*.qkv.*&sort=conditionNumber&order=ascending`.
///
/// Rows of long tables are data from which the script makes rows as they are scrolled to, and all
/// of them before printing, so that a page of ten thousand rows opens at once.
///
/// Every text is escaped, and the page's content security policy forbids loading anything.
struct HTMLRenderer {
  func render(_ document: ReportDocument) -> String {
    let hasImages = document.figures.contains(where: \.hasImages)
    var body: [String] = ["<h1>\(document.title.escapingMarkup)</h1>"]
    if !document.summary.isEmpty { body.append(summary(document.summary)) }
    // Plots precede the tables, to point to outliers; bars follow them.
    body += document.figures.filter(\.isPlot).map(figure)
    body += document.tables.map { section(Self.shown($0)) }
    body += document.figures.filter { !$0.isPlot }.map(figure)
    body += document.notes.map { "<p class=\"note\">\($0.escapingMarkup)</p>" }
    body += explanations(of: document)
    return """
      <!DOCTYPE html>
      <html lang="en">
      <head>
      <meta charset="utf-8">
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
      style-src 'unsafe-inline'; script-src 'unsafe-inline'\
      \(hasImages ? "; img-src data:" : "")">
      <title>\(document.title.escapingMarkup)</title>
      <style>
      \(Self.text(of: PackageResources.page_css))\(hasImages ? imageStyle : "")
      </style>
      </head>
      <body>
      <main>
      \(body.joined(separator: "\n"))
      </main>
      <script>
      \(Self.text(of: PackageResources.page_js))
      </script>
      </body>
      </html>

      """
  }

  private var imageStyle: String { "\n" + Self.text(of: PackageResources.images_css) }

  /// Returns the text of a file in `Resources`, without its final line break.
  private static func text(of resource: [UInt8]) -> String {
    String(decoding: resource.dropLast(), as: UTF8.self)
  }

  private func summary(_ facts: [ReportDocument.Fact]) -> String {
    let items = facts.map { fact in
      "<div><dt>\(fact.label.escapingMarkup)</dt>"
        + "<dd>\((fact.value.formatted(as: fact.kind)).escapingMarkup)</dd></div>"
    }
    return "<dl>\n\(items.joined(separator: "\n"))\n</dl>"
  }

  /// Returns the columns for people that are not empty.
  private static func shown(_ table: ReportTable) -> ReportTable {
    let isFilled = table.columns.indices.map { index in
      index == 0 || table.rows.contains { $0[index] != .empty }
    }
    let filled = OrderedDictionary(zip(table.columns, isFilled)) { $0 || $1 }
    return table.selectingColumns { $0.audience != .programs && filled[$0] == true }
  }

  /// Returns what columns mean, each once, to be shown on demand.
  private func explanations(of document: ReportDocument) -> [String] {
    var texts: OrderedDictionary<String, String> = [:]
    for column in document.tables.flatMap(\.columns) where column.audience != .programs {
      if let text = column.explanation { texts[column.key] = texts[column.key] ?? text }
    }
    return texts.map { key, text in
      "<div popover id=\"what-\(key.escapingMarkup)\">\(text.escapingMarkup)</div>"
    }
  }

  private func heading(_ column: ReportTable.Column) -> String {
    let name = column.heading.escapingMarkup
    let key = column.key.escapingMarkup
    let what =
      column.explanation == nil
      ? ""
      : " <button type=\"button\" class=\"what\" popovertarget=\"what-\(key)\" "
        + "aria-label=\"What \(name) means\">?</button>"
    return "<th scope=\"col\"\(classes(column)) data-key=\"\(key)\">"
      + "<button type=\"button\">\(name)</button>\(what)</th>"
  }

  private func section(_ table: ReportTable) -> String {
    let title = "<h2>\(table.title.escapingMarkup)</h2>"
    guard !table.rows.isEmpty else { return "<section>\(title)\n<p>None.</p></section>" }
    // Remarks go below the first cell: a column of sentences would displace the numbers.
    let columns = table.columns.indices.filter { table.columns[$0].kind != .remark }
    let remarks = table.columns.indices.filter { table.columns[$0].kind == .remark }
    let headings = columns.map { heading(table.columns[$0]) }
    let scales = table.columns.indices.map { scale(of: $0, in: table) }
    let isLong = table.rows.count > Self.mostWritten
    let rows = (isLong ? [] : table.rows).map { row in
      let remark = remarks.map { (row[$0].formatted(as: .remark)).escapingMarkup }
        .filter { !$0.isEmpty }.map { "<small>\($0)</small>" }.joined()
      let cells = columns.map { index in
        cell(
          row[index], table.columns[index], scale: scales[index],
          remark: index == columns.first ? remark : "")
      }
      return "<tr>\(cells.joined())</tr>"
    }
    return """
      <section>\(title)\(table.rows.count < Self.leastFiltered ? "" : Self.filter)
      <div class="scroll" tabindex="0" role="region" aria-label="\(table.title.escapingMarkup)">\
      <table class="rows" aria-rowcount="\(table.rows.count + 1)">
      <thead><tr>\(headings.joined())</tr></thead>
      <tbody>
      \(rows.joined(separator: "\n"))
      </tbody>
      </table></div>\(isLong ? data(of: table, columns: columns + remarks, scales: scales) : "")</section>
      """
  }

  /// The largest number of rows that are written as rows.
  private static let mostWritten = 500

  /// Returns the rows of a long table as data for the script, column by column.
  private func data(of table: ReportTable, columns: [Int], scales: [Double]) -> String {
    let lists = columns.map { index in
      let column = table.columns[index]
      var members = [
        "\"kind\":\"\(column.kind)\"",
        "\"classes\":\(JSONValue.string(classNames(column)).serialized())",
      ]
      if column.hasBar { members.append("\"scale\":\(Self.short(scales[index]))") }
      members.append(Self.values(table.rows.map { $0[index] }))
      return "{\(members.joined(separator: ","))}"
    }
    let text = "[\(lists.joined(separator: ",\n"))]".replacing("<", with: "\\u003c")
    return """

      <p><button type="button" class="more" hidden>More rows</button></p>
      <noscript><p class="note">The rows are shown by a script.</p></noscript>
      <script type="application/json">
      \(text)
      </script>
      """
  }

  /// Returns the cells of a column as members of an object: numbers with six digits, texts with a
  /// list of the different ones, and spectra as letters.
  private static func values(_ cells: [ReportCell]) -> String {
    var texts: OrderedDictionary<String, Int> = [:]
    let values = cells.map { cell -> String in
      switch cell {
      case .empty: return "null"
      case .integer(let value): return "\(value)"
      case .real(let value):
        return value.isFinite ? short(value) : "\"\(ReportNumber.real(value))\""
      case .series(let values):
        return "\"\(String(decoding: Sparkline(values).letters, as: UTF8.self))\""
      case .text(let text):
        let index = texts[text] ?? texts.count
        texts[text] = index
        return "\(index)"
      }
    }
    let list = texts.keys.map { JSONValue.string($0.escapingControlCharacters).serialized() }
    return (texts.isEmpty ? "" : "\"texts\":[\(list.joined(separator: ","))],")
      + "\"values\":[\(values.joined(separator: ","))]"
  }

  private static func short(_ value: Double) -> String { String(printf: "%.6g", value) }

  /// The smallest number of rows that gets a filter.
  private static let leastFiltered = 10

  private static let filter = """

    <p class="filter"><input type="search" placeholder="Filter: part of a name, or a pattern with *" \
    aria-label="Filter the rows"> <output></output></p>
    """

  private func classes(_ column: ReportTable.Column) -> String {
    let names = classNames(column)
    return names.isEmpty ? "" : " class=\"\(names)\""
  }

  private func classNames(_ column: ReportTable.Column) -> String {
    var classes: [String] = []
    if column.kind.isNumeric { classes.append("number") }
    if column.hasBar { classes.append("bar") }
    if column.isOptional { classes.append("optional") }
    return classes.joined(separator: " ")
  }

  private func cell(
    _ value: ReportCell, _ column: ReportTable.Column, scale: Double, remark: String
  ) -> String {
    if case .series(let values) = value {
      return "<td\(classes(column))>\(Sparkline(values).svg)</td>"
    }
    // Dotted names may break after a dot.
    let text =
      (value.formatted(as: column.kind)).escapingMarkup
      .replacing(".", with: column.kind == .text ? ".<wbr>" : ".") + remark
    guard let number = value.number else { return "<td\(classes(column))>\(text)</td>" }
    let start = "<td\(classes(column)) data-value=\"\(number)\" title=\"\(value.plain)\">\(text)"
    guard column.hasBar else { return start + "</td>" }
    let share = number.isFinite ? (scale > 0 ? max(0, log10(number)) / scale : 0) : 1
    let percent = String(printf: "%.1f", min(1, share) * 100)
    let kind = number.isFinite ? "" : " class=\"infinite\""
    return start + "<i\(kind) style=\"width:\(percent)%\"></i></td>"
  }

  /// Returns the decimal logarithm of the largest finite value, which a full bar represents.
  private func scale(of column: Int, in table: ReportTable) -> Double {
    guard table.columns[column].hasBar else { return 0 }
    let largest = table.rows.compactMap { $0[column].number }.filter(\.isFinite).max() ?? 1
    return log10(max(1, largest))
  }
}

extension String {
  /// The text as HTML and XML 1.0 hold it: special characters as entities, control characters made
  /// visible, and XML's two noncharacters replaced by U+FFFD.
  package var escapingMarkup: String {
    var escaped = ""
    for scalar in escapingControlCharacters.unicodeScalars {
      switch scalar {
      case "&": escaped += "&amp;"
      case "<": escaped += "&lt;"
      case ">": escaped += "&gt;"
      case "\"": escaped += "&quot;"
      case "'": escaped += "&#39;"
      case "\u{FFFE}", "\u{FFFF}": escaped += "\u{FFFD}"
      default: escaped.unicodeScalars.append(scalar)
      }
    }
    return escaped
  }
}
