import Storage

/// Renders GitHub-flavoured Markdown: a heading, the summary as a list, and tables with aligned
/// columns. Long tables are folded.
struct MarkdownRenderer {
  func render(_ document: ReportDocument) -> String {
    var blocks = ["# \(escaped(document.title))"]
    if !document.summary.isEmpty {
      blocks.append(
        document.summary.map { fact in
          "- \(escaped(fact.label)): \(escaped(fact.value.formatted(as: fact.kind)))"
        }.joined(separator: "\n"))
    }
    for table in document.tables {
      let table = table.selectingColumns { $0.audience != .programs }
      blocks.append("## \(escaped(table.title))")
      if table.rows.count > Self.mostShown {
        // A comment on a merge request shows long tables on demand.
        blocks.append("<details><summary>\(table.rows.count) rows</summary>")
        blocks += [rows(of: table), "</details>"]
      } else {
        blocks.append(table.rows.isEmpty ? "None." : rows(of: table))
      }
    }
    blocks += document.notes.map(escaped)
    return blocks.joined(separator: "\n\n") + "\n"
  }

  /// The largest number of rows that are shown at once.
  private static let mostShown = 25

  private func rows(of table: ReportTable) -> String {
    let alignments = table.columns.map { $0.kind.isNumeric ? "---:" : "---" }
    let body = table.rows.map { row in
      zip(row, table.columns).map { escaped($0.formatted(as: $1.kind)) }
    }
    return ([table.columns.map { escaped($0.heading) }, alignments] + body)
      .map { "| \($0.joined(separator: " | ")) |" }
      .joined(separator: "\n")
  }

  /// Returns `text` with all Markdown and HTML markup escaped by backslashes or entities.
  /// Underscores inside words are not markup, and tensor names are full of them.
  private func escaped(_ text: String) -> String {
    let characters = Array(text.escapingControlCharacters)
    return characters.indices.map { index in
      let character = characters[index]
      switch character {
      case "&": return "&amp;"
      case "<": return "&lt;"
      case ">": return "&gt;"
      case "\\", "`", "*", "[", "]", "|", "~", "#": return "\\\(character)"
      case "_":
        let isInsideWord =
          index > 0 && index + 1 < characters.count && isWord(characters[index - 1])
          && isWord(characters[index + 1])
        return isInsideWord ? "_" : "\\_"
      default: return String(character)
      }
    }.joined()
  }

  private func isWord(_ character: Character) -> Bool {
    character.isLetter || character.isNumber
  }
}
