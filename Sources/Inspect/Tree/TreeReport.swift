import Formats
import Reports
import Storage

/// The structure of a model file: its containers, and the tensors and values in them.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("checkpoint.pth")
/// let report = TreeReport(archive: archive, file: "checkpoint.pth", depth: 2)
/// print(report.tensorCount, report.valueCount)
/// print(try report.rendered(as: .text))
/// ```
public struct TreeReport: Codable, Hashable, Sendable {
  /// The version of the JSON form, `schemas/tree-report.schema.json`.
  package static let currentSchemaVersion = 1

  /// The version of the JSON form.
  public var schemaVersion = Self.currentSchemaVersion
  /// The path as the user gave it.
  public var file: String
  /// `FormatIdentifier.name`; `nil` for archives made in memory.
  public var format: String?
  /// The file's length; `nil` if unknown.
  public var fileByteCount: Int?
  /// The number of tensors in the file, listed or not.
  public var tensorCount: Int
  /// The number of leaves that are not tensors.
  public var valueCount: Int
  /// The bytes of all tensors, counted once per name.
  public var tensorByteCount: Int
  /// The parts of the file that could not be read; `nil` if there are none.
  public var unread: [UnreadEntry]?
  /// The number of levels listed below the root; `nil` for all.
  public var depth: Int?
  /// The outermost container, or the group of all names.
  public var root: TreeNode

  /// Creates the structure of `archive` from its index alone.
  ///
  /// - Parameters:
  ///   - file: The path, for the report.
  ///   - depth: The number of levels to list; deeper levels are only counted. `nil` for all.
  public init(archive: TensorArchive, file: String, fileByteCount: Int? = nil, depth: Int? = nil) {
    self.file = file
    self.fileByteCount = fileByteCount
    self.depth = depth
    format = archive.format?.name
    tensorCount = archive.tensors.count
    valueCount = archive.values.count
    tensorByteCount = archive.tensorByteCount
    unread = archive.unread.nilIfEmpty
    root = TreeNode(archive: archive)
    if let depth { root.cut(below: depth) }
  }
}

extension TreeReport {
  /// Returns the tree as drawn by `tree`, with one line per node. Nothing is shortened or omitted
  /// except nodes below the requested depth; the width is ignored.
  ///
  /// - Parameter rowLimit: The largest number of lines of the tree; a final line counts the others.
  package func text(width: Int, rowLimit: Int?) -> String {
    var lines = [headline]
    let rows = rows(branches: .text)
    for row in rows.prefix(rowLimit ?? .max) {
      let columns = [row.branch + row.label] + row.node.particulars
      lines.append(columns.filter { !$0.isEmpty }.joined(separator: "  "))
    }
    if let rowLimit, rows.count > rowLimit {
      lines.append("… \(rows.count - rowLimit) more lines")
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private var headline: String {
    var facts = [format, fileByteCount.map(ReportNumber.bytes)].compactMap { $0 }
    facts.append("\(ReportNumber.integer(tensorCount)) \(tensorCount == 1 ? "tensor" : "tensors")")
    facts.append(ReportNumber.bytes(tensorByteCount) + " of them")
    if valueCount > 0 {
      facts.append("\(ReportNumber.integer(valueCount)) \(valueCount == 1 ? "value" : "values")")
    }
    let particulars = root.kind == .group ? [] : root.particulars.filter { !$0.isEmpty }
    return ([file.escapingControlCharacters, facts.joined(separator: ", ")] + particulars)
      .joined(separator: "  ")
  }

  /// The line-drawing characters that lead to nodes.
  struct Branches {
    let middle: String
    let last: String
    let passing: String
    let empty: String

    static let text = Branches(middle: "├── ", last: "└── ", passing: "│   ", empty: "    ")
    /// With no-break spaces, which HTML and Markdown preserve.
    static let page = Branches(
      middle: "├──\u{A0}", last: "└──\u{A0}", passing: "│\u{A0}\u{A0}\u{A0}",
      empty: "\u{A0}\u{A0}\u{A0}\u{A0}")
  }

  struct Row {
    let branch: String
    /// The key, escaped.
    let label: String
    let depth: Int
    let node: TreeNode
  }

  /// Returns every listed node except the root, in line order.
  func rows(branches: Branches) -> [Row] {
    var rows: [Row] = []
    // The depth of the tree is bounded, because structures and grouped names both have limits.
    func visit(_ node: TreeNode, prefix: String, depth: Int) {
      let children = node.children ?? []
      for (index, child) in children.enumerated() {
        let isLast = index == children.count - 1
        rows.append(
          Row(
            branch: prefix + (isLast ? branches.last : branches.middle),
            label: child.label(in: node), depth: depth, node: child))
        visit(
          child, prefix: prefix + (isLast ? branches.empty : branches.passing), depth: depth + 1)
      }
    }
    visit(root, prefix: "", depth: 1)
    return rows
  }
}

extension TreeNode {
  fileprivate func label(in parent: TreeNode) -> String {
    switch parent.kind {
    case .list, .tuple, .set: "[\(key)]"
    default: key.isEmpty ? "''" : key.escapingControlCharacters
    }
  }

  /// The text after the key: the kind, the shape, the size or the value.
  fileprivate var particulars: [String] {
    let unlisted = childCount > 0 && children == nil ? "…" : ""
    return switch kind {
    case .tensor:
      [
        elementType ?? "", "[\((shape ?? []).map(String.init).joined(separator: ", "))]",
        ReportNumber.bytes(byteCount ?? 0), unlisted,
      ]
    case .unread: ["left out: \(value?.escapingControlCharacters ?? "")"]
    case .value: [shownValue, unlisted]
    case .group: [unlisted.isEmpty ? "" : "… \(summary)"]
    case .dictionary, .orderedDictionary, .list, .tuple, .set:
      ["\(kind.title) (\(childCount))", unlisted.isEmpty ? "" : "… \(summary)"]
    }
  }

  /// The value, of which a long text is its start.
  private var shownValue: String {
    guard let value else { return "" }
    guard value.count > 200 else { return value.escapingControlCharacters }
    return "\(value.prefix(60).description.escapingControlCharacters)… "
      + "(\(counted(value.count, "character")))"
  }

  private var summary: String {
    "\(counted(tensorCount, "tensor")), \(ReportNumber.bytes(totalByteCount))"
  }
}

extension TreeNode.Kind {
  /// Python's name of the container.
  var title: String {
    switch self {
    case .dictionary: "dict"
    case .orderedDictionary: "OrderedDict"
    default: rawValue
    }
  }
}

extension TreeReport: DocumentedReport {
  /// The tree as a table with one row per node; CSV has the depth as a number and the full name.
  package var document: ReportDocument {
    var facts: [ReportDocument.Fact] = []
    if let format { facts.append(.init("format", format)) }
    if let fileByteCount {
      facts.append(.init("file size", .integer(fileByteCount), kind: .bytes))
    }
    facts += [
      .init("tensors", .integer(tensorCount), kind: .integer),
      .init("tensor bytes", .integer(tensorByteCount), kind: .bytes),
      .init("other values", .integer(valueCount), kind: .integer),
    ]
    return ReportDocument(
      title: "Structure: \(file)", summary: facts, tables: [table],
      notes: ReportDocument.notes(on: unread))
  }

  private var table: ReportTable {
    ReportTable(
      title: "Structure",
      columns: [
        .init(key: "tree", heading: "name", kind: .text, audience: .people),
        .init(key: "depth", heading: "depth", kind: .integer, audience: .programs),
        .init(key: "key", heading: "key", kind: .text, audience: .programs),
        .init(key: "name", heading: "name", kind: .text, audience: .programs),
        .init(key: "kind", heading: "kind", kind: .text),
        .init(key: "elementType", heading: "type", kind: .text),
        .init(key: "shape", heading: "shape", kind: .text, audience: .people),
        .init(key: "shape", heading: "shape", kind: .text, audience: .programs),
        .init(key: "byteCount", heading: "size", kind: .bytes),
        .init(key: "childCount", heading: "entries", kind: .integer),
        .init(key: "value", heading: "value", kind: .text),
      ],
      rows: rows(branches: .page).map { row in
        let node = row.node
        let shape = node.shape.map(ReportShape.init)
        return [
          .text(row.branch + row.label), .integer(row.depth), .text(node.key),
          ReportCell(node.name), .text(node.kind == .group ? "" : node.kind.title),
          ReportCell(node.elementType), ReportCell(shape?.forPeople),
          ReportCell(shape?.forPrograms), .integer(node.byteCount ?? node.totalByteCount),
          node.childCount > 0 ? .integer(node.childCount) : .empty, ReportCell(node.value),
        ]
      })
  }
}
