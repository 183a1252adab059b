import Storage

/// Renders plain text that fits `width` columns: numbers are right-aligned, long names shortened,
/// and remarks collected below their table.
struct TextRenderer {
  /// The width in columns, at least 40.
  let width: Int

  private static let gap = "  "
  /// The width that names keep as long as optional columns can be omitted.
  private static let comfortableWidth = 40
  private static let narrowestText = 8

  init(width: Int) {
    self.width = max(40, width)
  }

  func render(_ document: ReportDocument) -> String {
    var blocks = [shortened(line(document.title), to: width)]
    if !document.summary.isEmpty { blocks.append(summary(document.summary)) }
    for table in document.tables {
      blocks.append(block(table.selectingColumns { $0.audience != .programs }))
    }
    blocks += document.notes.map { wrapped(line($0)) }
    return blocks.joined(separator: "\n\n") + "\n"
  }

  private func summary(_ facts: [ReportDocument.Fact]) -> String {
    let labels = facts.map { line($0.label) }
    let labelWidth = labels.map(\.count).max() ?? 0
    return zip(labels, facts).map { label, fact in
      let value = shortened(
        line(fact.value.formatted(as: fact.kind)),
        to: max(Self.narrowestText, width - labelWidth - Self.gap.count))
      return padded(label, to: labelWidth) + Self.gap + value
    }.joined(separator: "\n")
  }

  private func block(_ table: ReportTable) -> String {
    guard !table.rows.isEmpty else { return "\(line(table.title)): none" }
    var grid = TextGrid(table)
    let prefix = grid.dropCommonPrefix(ifWiderThan: width, gap: Self.gap.count)
    let leftOut = grid.fit(
      width: width, gap: Self.gap.count, comfortable: Self.comfortableWidth,
      narrowest: Self.narrowestText)
    var lines = ["\(line(table.title))"]
    for cells in [grid.headings] + grid.rows {
      let row = zip(cells, grid.columns).map { cell, column in
        let text = shortened(cell, to: column.width)
        return column.isNumeric
          ? padded(text, to: column.width, onTheLeft: true) : padded(text, to: column.width)
      }
      lines.append(trimmed(row.joined(separator: Self.gap)))
    }
    if !grid.remarks.isEmpty {
      lines.append("")
      lines += grid.remarks.enumerated().map { wrapped("\($0 + 1): \($1)") }
    }
    if let prefix {
      lines.append("")
      lines.append(wrapped("All names begin with '\(prefix)'."))
    }
    if !leftOut.isEmpty {
      lines.append("")
      lines.append(wrapped("Columns left out at this width: \(leftOut.joined(separator: ", "))."))
    }
    return lines.joined(separator: "\n")
  }

  private func line(_ text: String) -> String { text.escapingControlCharacters }

  private func shortened(_ text: String, to limit: Int) -> String {
    text.abbreviated(to: limit)
  }

  private func padded(_ text: String, to width: Int, onTheLeft: Bool = false) -> String {
    let padding = String(repeating: " ", count: max(0, width - text.count))
    return onTheLeft ? padding + text : text + padding
  }

  private func trimmed(_ text: String) -> String {
    text.lastIndex { $0 != " " }.map { String(text[...$0]) } ?? ""
  }

  /// Returns `text` broken at spaces into lines of at most `width` characters; longer words are
  /// shortened.
  private func wrapped(_ text: String) -> String {
    var lines: [String] = []
    for word in text.split(separator: " ", omittingEmptySubsequences: false) {
      let word = shortened(String(word), to: width)
      if let last = lines.last, last.count + 1 + word.count <= width {
        lines[lines.count - 1] += " \(word)"
      } else {
        lines.append(word)
      }
    }
    return lines.joined(separator: "\n")
  }
}
