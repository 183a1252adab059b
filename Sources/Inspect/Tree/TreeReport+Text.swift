import Formats

extension TreeReport {
  /// The tree as `tree` draws it, each line a node: nothing is shortened or left out but what lies
  /// below the depth asked for. The width is not heeded.
  ///
  /// - Parameter rowLimit: at most so many lines of the tree; a last line counts the others.
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

  /// How lines lead to their nodes.
  struct Branches {
    let middle: String
    let last: String
    let passing: String
    let empty: String

    static let text = Branches(middle: "├── ", last: "└── ", passing: "│   ", empty: "    ")
    /// With no-break spaces, which HTML and Markdown keep.
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

  /// Every listed node but the root, in the order of their lines.
  func rows(branches: Branches) -> [Row] {
    var rows: [Row] = []
    // The tree is at most as deep as a structure and a grouped name can be, both limited.
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

  /// What stands behind the key: the kind, the shape, the size or the value.
  fileprivate var particulars: [String] {
    let unlisted = childCount > 0 && children == nil ? "…" : ""
    return switch kind {
    case .tensor:
      [
        elementType ?? "", "[\((shape ?? []).map(String.init).joined(separator: ", "))]",
        ReportNumber.bytes(byteCount ?? 0), unlisted,
      ]
    case .unread: ["left out: \(value?.escapingControlCharacters ?? "")"]
    case .value: [value?.escapingControlCharacters ?? "", unlisted]
    case .group: [unlisted.isEmpty ? "" : "… \(summary)"]
    case .dictionary, .orderedDictionary, .list, .tuple, .set:
      ["\(kind.title) (\(childCount))", unlisted.isEmpty ? "" : "… \(summary)"]
    }
  }

  private var summary: String {
    "\(counted(tensorCount, "tensor")), \(ReportNumber.bytes(totalByteCount))"
  }
}

extension TreeNode.Kind {
  /// Python's word for a container.
  var title: String {
    switch self {
    case .dictionary: "dict"
    case .orderedDictionary: "OrderedDict"
    default: rawValue
    }
  }
}
