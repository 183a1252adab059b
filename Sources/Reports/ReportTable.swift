/// A table with typed columns.
package struct ReportTable: Hashable, Sendable {
  package var title: String
  package var columns: [Column]
  /// The rows, with one cell per column.
  package private(set) var rows: [[ReportCell]]
  /// Whether the table is exempt from row limits, as tables with a few fixed rows are.
  package var isSummary: Bool

  /// Creates a table.
  ///
  /// - Precondition: Every row has as many cells as there are columns.
  package init(title: String, columns: [Column], rows: [[ReportCell]], isSummary: Bool = false) {
    precondition(
      rows.allSatisfy { $0.count == columns.count },
      "a row of '\(title)' does not have one cell per column")
    self.title = title
    self.columns = columns
    self.rows = rows
    self.isSummary = isSummary
  }

  package struct Column: Hashable, Sendable {
    /// The type of a column's cells, which determines their formatting and alignment.
    package enum Kind: Sendable {
      case text
      /// A remark on the row. Text output collects remarks below the table.
      case remark
      case integer
      case real
      /// A fraction of one, shown as a percentage.
      case share
      /// A number of bytes.
      case bytes
      /// Descending positive numbers, drawn on a logarithmic scale.
      case spectrum

      package var isNumeric: Bool {
        switch self {
        case .text, .remark, .spectrum: false
        case .integer, .real, .share, .bytes: true
        }
      }
    }

    /// The audience of a column: CSV contains those for programs, the other formats those for
    /// people.
    package enum Audience: Sendable { case everyone, people, programs }

    /// The column's name in CSV.
    package var key: String
    /// The column's heading for people.
    package var heading: String
    package var kind: Kind
    package var audience: Audience
    /// Whether plain text may omit the column when there is too little room.
    package var isOptional: Bool
    /// Whether HTML draws a bar beside the number, on a logarithmic scale from 1.
    package var hasBar: Bool
    /// What the values say, in a sentence or two, which HTML shows on demand; `nil` if the heading
    /// says it all.
    package var explanation: String?

    package init(
      key: String, heading: String, kind: Kind, audience: Audience = .everyone,
      isOptional: Bool = false, hasBar: Bool = false, explanation: String? = nil
    ) {
      self.explanation = explanation
      self.key = key
      self.heading = heading
      self.kind = kind
      self.audience = audience
      self.isOptional = isOptional
      self.hasBar = hasBar
    }
  }

  /// Returns the table with only the columns accepted by `isIncluded`.
  package func selectingColumns(_ isIncluded: (Column) -> Bool) -> ReportTable {
    let indices = columns.indices.filter { isIncluded(columns[$0]) }
    return ReportTable(
      title: title, columns: indices.map { columns[$0] },
      rows: rows.map { row in indices.map { row[$0] } }, isSummary: isSummary)
  }
}

/// A value of a table or a summary.
package enum ReportCell: Hashable, Sendable {
  case empty
  case text(String)
  case integer(Int)
  case real(Double)
  /// Several numbers, such as a spectrum.
  case series([Double])

  /// Creates a cell that is `empty` if there is no value.
  package init(_ value: Double?) { self = value.map(Self.real) ?? .empty }
  package init(_ value: Int?) { self = value.map(Self.integer) ?? .empty }
  package init(_ value: String?) { self = value.map(Self.text) ?? .empty }
}

extension [ReportTable] {
  /// The tables that have rows.
  package var withRows: [ReportTable] { filter { !$0.rows.isEmpty } }
}
