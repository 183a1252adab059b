/// What a report says, before it is text, CSV, Markdown or HTML.
///
/// Texts are as they came, from file names and tensor names too: every renderer escapes them.
public struct ReportDocument: Hashable, Sendable {
  public var title: String
  /// A few facts that stand before the tables.
  public var summary: [Fact]
  /// The first table is the main one, and the only one in CSV.
  public var tables: [ReportTable]
  /// Sentences that stand after the tables.
  public var notes: [String]
  /// Drawings, which only HTML has; they show nothing that the value itself does not have.
  public var figures: [ReportFigure]

  public init(
    title: String, summary: [Fact], tables: [ReportTable], notes: [String] = [],
    figures: [ReportFigure] = []
  ) {
    self.title = title
    self.summary = summary
    self.tables = tables
    self.notes = notes
    self.figures = figures
  }

  /// A labelled value of the summary.
  public struct Fact: Hashable, Sendable {
    public var label: String
    public var value: ReportCell
    public var kind: ReportTable.Column.Kind

    public init(_ label: String, _ value: ReportCell, kind: ReportTable.Column.Kind) {
      self.label = label
      self.value = value
      self.kind = kind
    }

    public init(_ label: String, _ text: String) {
      self.init(label, .text(text), kind: .text)
    }
  }
}

/// Rows under typed columns.
public struct ReportTable: Hashable, Sendable {
  public var title: String
  public var columns: [Column]
  /// Each row has one cell a column.
  public private(set) var rows: [[ReportCell]]
  /// Whether a limit of rows leaves it whole: for tables of a few fixed rows.
  public var isSummary: Bool

  /// - Precondition: every row has as many cells as there are columns.
  public init(title: String, columns: [Column], rows: [[ReportCell]], isSummary: Bool = false) {
    precondition(
      rows.allSatisfy { $0.count == columns.count }, "a row of '\(title)' has not a cell a column")
    self.title = title
    self.columns = columns
    self.rows = rows
    self.isSummary = isSummary
  }

  public struct Column: Hashable, Sendable {
    /// What the cells are, which decides how they are written and aligned.
    public enum Kind: Sendable {
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
    public enum Audience: Sendable { case everyone, people, programs }

    /// The name in CSV.
    public var key: String
    /// The heading for people.
    public var heading: String
    public var kind: Kind
    public var audience: Audience
    /// Whether plain text may leave the column out when there is no room for it.
    public var isOptional: Bool
    /// Whether HTML draws a bar on a logarithmic scale from 1 beside the number.
    public var hasBar: Bool

    public init(
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
public enum ReportCell: Hashable, Sendable {
  case empty
  case text(String)
  case integer(Int)
  case real(Double)
  /// Several numbers, as a spectrum.
  case series([Double])

  /// `empty` when there is no value.
  public init(_ value: Double?) { self = value.map(Self.real) ?? .empty }
  public init(_ value: Int?) { self = value.map(Self.integer) ?? .empty }
  public init(_ value: String?) { self = value.map(Self.text) ?? .empty }
}
