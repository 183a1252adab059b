import Formats

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

  /// Sentences on what could not be read of a model file.
  package static func notes(on unread: [UnreadEntry]?) -> [String] {
    (unread ?? []).sentences.map { "\($0.prefix(1).uppercased())\($0.dropFirst())." }
  }

  /// Sentences on tensors that belong together.
  package static func notes(on groups: [TensorGroup]?) -> [String] {
    (groups ?? []).sentences.map { "\($0.prefix(1).uppercased())\($0.dropFirst())." }
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

/// Rows under typed columns.
package struct ReportTable: Hashable, Sendable {
  package var title: String
  package var columns: [Column]
  /// Each row has one cell a column.
  package private(set) var rows: [[ReportCell]]
  /// Whether a limit of rows leaves it whole: for tables of a few fixed rows.
  var isSummary: Bool

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

      var isNumeric: Bool {
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
    var hasBar: Bool

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
  func selectingColumns(_ isIncluded: (Column) -> Bool) -> ReportTable {
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
