import Storage

/// A table's cells as text with their widths, the layout of `TextRenderer`.
struct TextGrid {
  struct Column {
    let heading: String
    let isNumeric: Bool
    let isOptional: Bool
    let canShrink: Bool
    /// The width of the longest cell.
    var naturalWidth: Int
    var width: Int
  }

  private(set) var columns: [Column]
  private(set) var rows: [[String]]
  /// The distinct remarks in order of occurrence; cells refer to them by number, from 1.
  let remarks: [String]

  var headings: [String] { columns.map(\.heading) }

  init(_ table: ReportTable) {
    var remarks: [String] = []
    var numbers: [String: Int] = [:]
    rows = table.rows.map { row in
      zip(row, table.columns).map { cell, column in
        let text = cell.formatted(as: column.kind).escapingControlCharacters
        guard column.kind == .remark, !text.isEmpty else { return text }
        if numbers[text] == nil {
          remarks.append(text)
          numbers[text] = remarks.count
        }
        return "\(numbers[text] ?? 0)"
      }
    }
    self.remarks = remarks
    columns = []
    for (index, column) in table.columns.enumerated() {
      let heading = column.heading.escapingControlCharacters
      let natural = rows.reduce(heading.count) { max($0, $1[index].count) }
      columns.append(
        Column(
          heading: heading, isNumeric: column.kind.isNumeric, isOptional: column.isOptional,
          canShrink: column.kind == .text, naturalWidth: natural, width: natural))
    }
    // Empty columns are removed.
    for index in columns.indices.reversed() where rows.allSatisfy({ $0[index].isEmpty }) {
      remove(index)
    }
  }

  /// Removes the longest dotted prefix shared by all names in the first column, if the table is
  /// wider than `width`.
  ///
  /// - Returns: The prefix that was removed, or `nil` if there was none.
  mutating func dropCommonPrefix(ifWiderThan width: Int, gap: Int) -> String? {
    let natural = columns.reduce(0) { $0 + $1.naturalWidth + gap } - gap
    guard natural > width, rows.count > 1, let first = rows.first?.first else { return nil }
    var prefix = first[...]
    while let dot = prefix.lastIndex(of: ".") {
      let candidate = first[...dot]
      if rows.allSatisfy({ $0[0].hasPrefix(candidate) }) {
        for row in rows.indices { rows[row][0].removeFirst(candidate.count) }
        let longest = rows.reduce(columns[0].heading.count) { max($0, $1[0].count) }
        columns[0].naturalWidth = longest
        columns[0].width = longest
        return String(candidate)
      }
      prefix = first[..<dot]
    }
    return nil
  }

  /// Fits the columns into `width`. Optional columns are removed, the last first, as long as a text
  /// column would get less than a comfortable width; then the widest text columns shrink.
  ///
  /// - Returns: The headings of the removed columns.
  mutating func fit(width: Int, gap: Int, comfortable: Int, narrowest: Int) -> [String] {
    var leftOut: [String] = []
    while true {
      let excess = columns.reduce(0) { $0 + $1.naturalWidth + gap } - gap - width
      let spare = columns.filter(\.canShrink).reduce(0) {
        $0 + max(0, $1.naturalWidth - comfortable)
      }
      guard excess > spare, let index = columns.lastIndex(where: \.isOptional) else { break }
      leftOut.insert(columns[index].heading, at: 0)
      remove(index)
    }
    var excess = columns.reduce(0) { $0 + $1.width + gap } - gap - width
    while excess > 0 {
      let widest = columns.indices.filter { columns[$0].canShrink }
        .max { columns[$0].width < columns[$1].width }
      guard let widest, columns[widest].width > narrowest else { break }
      columns[widest].width -= 1
      excess -= 1
    }
    return leftOut
  }

  private mutating func remove(_ index: Int) {
    columns.remove(at: index)
    for row in rows.indices { rows[row].remove(at: index) }
  }
}
