import Formats

extension TreeReport: DocumentedReport {
  /// The tree as a table, a row a node; CSV has the depth as a number and the whole name.
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
