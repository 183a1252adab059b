/// Rows under typed columns.
package struct ReportTable: Hashable, Sendable {
  package var title: String
  package var columns: [Column]
  /// Each row has one cell a column.
  package private(set) var rows: [[ReportCell]]
  /// Whether a limit of rows leaves it whole: for tables of a few fixed rows.
  package var isSummary: Bool

  /// - Precondition: every row has as many cells as there are columns.
  package init(title: String, columns: [Column], rows: [[ReportCell]], isSummary: Bool = false) {
    precondition(
      rows.allSatisfy { $0.count == columns.count }, "a row of '\(title)' has not a cell a column")
    self.title = title
    self.columns = columns
    self.rows = rows
    self.isSummary = isSummary
  }

  package struct Column: Hashable, Sendable {
    /// What the cells are, which decides how they are written and aligned.
    package enum Kind: Sendable {
      case text
      /// A remark on the row; text output collects remarks under the table.
      case remark
      case integer
      case real
      /// A fraction of one, shown in percent.
      case share
      /// A number of bytes.
      case bytes
      /// Positive numbers that fall, drawn on a logarithmic scale.
      case spectrum

      package var isNumeric: Bool {
        switch self {
        case .text, .remark, .spectrum: false
        case .integer, .real, .share, .bytes: true
        }
      }
    }

    /// Who a column is for: CSV has those for programs, the other formats those for people.
    package enum Audience: Sendable { case everyone, people, programs }

    /// The name in CSV.
    package var key: String
    /// The heading for people.
    package var heading: String
    package var kind: Kind
    package var audience: Audience
    /// Whether plain text may leave the column out when there is no room for it.
    package var isOptional: Bool
    /// Whether HTML draws a bar on a logarithmic scale from 1 beside the number.
    package var hasBar: Bool

    package init(
      key: String, heading: String, kind: Kind, audience: Audience = .everyone,
      isOptional: Bool = false, hasBar: Bool = false
    ) {
      self.key = key
      self.heading = heading
      self.kind = kind
      self.audience = audience
      self.isOptional = isOptional
      self.hasBar = hasBar
    }
  }

  /// The table with only the columns that `isIncluded` accepts.
  package func selectingColumns(_ isIncluded: (Column) -> Bool) -> ReportTable {
    let indices = columns.indices.filter { isIncluded(columns[$0]) }
    return ReportTable(
      title: title, columns: indices.map { columns[$0] },
      rows: rows.map { row in indices.map { row[$0] } }, isSummary: isSummary)
  }
}

/// One value of a table or of a summary.
package enum ReportCell: Hashable, Sendable {
  case empty
  case text(String)
  case integer(Int)
  case real(Double)
  /// Several numbers, as a spectrum.
  case series([Double])

  /// `empty` when there is no value.
  package init(_ value: Double?) { self = value.map(Self.real) ?? .empty }
  package init(_ value: Int?) { self = value.map(Self.integer) ?? .empty }
  package init(_ value: String?) { self = value.map(Self.text) ?? .empty }
}
