import Formats
import Reports
import Transform

extension ConversionReport: DocumentedReport {
  package var document: ReportDocument {
    var facts: [ReportDocument.Fact] = [
      .init("source", input),
      .init("format", format),
      .init("tensors", .integer(tensorCount), kind: .integer),
    ]
    if let root { facts.insert(.init("part taken", root), at: 1) }
    return ReportDocument(
      title: "\(isPlan == true ? "Planned" : "Converted"): \(output)", summary: facts + edits.facts,
      tables: edits.tables, notes: edits.notes + (isPlan == true ? ["Nothing was written."] : []))
  }
}

extension EditReport {
  var facts: [ReportDocument.Fact] {
    var facts: [ReportDocument.Fact] = [
      .init("renamed", .integer(renamed.count), kind: .integer),
      .init("dropped", .integer(dropped.count), kind: .integer),
      .init("cast tensors", .integer(casts.count), kind: .integer),
    ]
    if !casts.isEmpty {
      facts += [
        .init("cast values", .integer(castElementCount), kind: .integer),
        .init("rounded", .integer(roundedCount), kind: .integer),
        .init("beyond the largest", .integer(overflowCount), kind: .integer),
        .init("became zero", .integer(zeroedCount), kind: .integer),
        .init("became subnormal", .integer(subnormalCount), kind: .integer),
      ]
    }
    return facts
  }

  var tables: [ReportTable] {
    // What lost the most comes first.
    let order = casts.sorted {
      ($0.overflowCount, $0.zeroedCount, $0.subnormalCount)
        > ($1.overflowCount, $1.zeroedCount, $1.subnormalCount)
    }
    return [
      ReportTable(
        title: "Cast tensors",
        columns: [
          .init(key: "name", heading: "tensor", kind: .text),
          .init(key: "from", heading: "from", kind: .text),
          .init(key: "to", heading: "to", kind: .text),
          .init(key: "elementCount", heading: "values", kind: .integer, isOptional: true),
          .init(key: "roundedCount", heading: "rounded", kind: .integer),
          .init(key: "overflowCount", heading: "overflow", kind: .integer),
          .init(key: "zeroedCount", heading: "to zero", kind: .integer),
          .init(key: "subnormalCount", heading: "subnormal", kind: .integer),
        ],
        rows: order.map {
          [
            .text($0.name), .text($0.from), .text($0.to), .integer($0.elementCount),
            .integer($0.roundedCount), .integer($0.overflowCount), .integer($0.zeroedCount),
            .integer($0.subnormalCount),
          ]
        }),
      ReportTable(
        title: "Not cast",
        columns: [
          .init(key: "name", heading: "tensor", kind: .text),
          .init(key: "reason", heading: "reason", kind: .text),
        ], rows: uncast.map { [.text($0.name), .text($0.reason)] }),
      ReportTable(
        title: "Renamed",
        columns: [
          .init(key: "from", heading: "from", kind: .text),
          .init(key: "to", heading: "to", kind: .text),
        ], rows: renamed.map { [.text($0.from), .text($0.to)] }),
      ReportTable(
        title: "Dropped", columns: [.init(key: "name", heading: "name", kind: .text)],
        rows: dropped.map { [.text($0)] }),
    ].withRows
  }

  var notes: [String] {
    guard overflowCount > 0 else { return [] }
    return [
      "\(overflowCount) of \(castElementCount) cast values are beyond the largest of their type and "
        + "became infinite, or NaN in 8-bit types without infinity."
    ]
  }
}
