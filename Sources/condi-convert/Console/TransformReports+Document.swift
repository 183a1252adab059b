import Reports
import Transform

extension PlanReport: DocumentedReport {
  package var document: ReportDocument {
    var facts: [ReportDocument.Fact] = [
      .init("recipe", recipe),
      .init("quantized tensors", .integer(quantizedTensorCount), kind: .integer),
      .init("quantized weights", .integer(quantizedElementCount), kind: .integer),
      .init("parameters", .integer(parameterCount), kind: .integer),
      .init("payload without buffers", .integer(payloadByteCount), kind: .bytes),
      .init("bits per weight", .real(bitsPerWeight), kind: .real),
      .init("ratio, as in the papers", .real(paperRatio), kind: .real),
      .init("ratio of parameters", .real(parametersRatio), kind: .real),
    ]
    if let budget { facts.insert(.init("budget", budget), at: 1) }
    if let root { facts.insert(.init("part taken", root), at: 0) }
    return ReportDocument(
      title: "Plan: \(input)", summary: facts + (edits?.facts ?? []),
      tables: [
        ReportTable(
          title: "Quantized weights",
          columns: [
            .init(key: "name", heading: "tensor", kind: .text),
            .init(key: "bitWidth", heading: "bits", kind: .integer),
            .init(key: "granularity", heading: "bounds per", kind: .text),
            .init(key: "payloadByteCount", heading: "size", kind: .bytes),
            .init(key: "relativeOutputError", heading: "output error", kind: .real),
          ],
          rows: layers.map { layer in
            [
              .text(layer.name), .integer(layer.bitWidth), .text(layer.granularity),
              .integer(layer.payloadByteCount), ReportCell(layer.relativeOutputError),
            ]
          })
      ] + kept.tables + (edits?.tables ?? []),
      notes: (edits?.notes ?? []) + ReportDocument.notes(on: unread)
        + ReportDocument.notes(on: groups) + kept.notes
        + [Recipe.remark(onTables: layers.map { ($0.name, $0.bitWidth) })].compactMap(\.self)
        + ["Nothing was written."])
  }
}

extension ConditionReport: DocumentedReport {
  package var document: ReportDocument {
    let changed = matrices.filter(\.isChanged)
    let before = matrices.compactMap(\.conditionNumberBefore)
    let after = matrices.compactMap(\.conditionNumberAfter)
    func mean(_ values: [Double]) -> Double? {
      values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
    }
    var facts: [ReportDocument.Fact] = [
      .init("source", input),
      .init("calibration", calibration ?? "none: inputs assumed to be white (H = I)"),
      .init("matrices", .integer(matrices.count), kind: .integer),
      .init("changed", .integer(changed.count), kind: .integer),
      .init("mean condition number before", ReportCell(mean(before)), kind: .real),
      .init("mean condition number after", ReportCell(mean(after)), kind: .real),
      .init("largest condition number before", ReportCell(before.max()), kind: .real),
      .init("largest condition number after", ReportCell(after.max()), kind: .real),
      .init(
        "largest output error", ReportCell(matrices.map(\.relativeOutputError).max()), kind: .real),
    ]
    if let root { facts.insert(.init("part taken", root), at: 1) }
    if let targetCondition {
      facts.append(.init("target condition number", .real(targetCondition), kind: .real))
    }
    if let penalty { facts.append(.init("penalty", .real(penalty), kind: .real)) }
    return ReportDocument(
      title: "Conditioned: \(output)", summary: facts + (edits?.facts ?? []),
      tables: [
        ReportTable(
          title: "Weight matrices",
          columns: [
            .init(key: "name", heading: "tensor", kind: .text),
            .init(key: "part", heading: "part", kind: .integer),
            .init(key: "conditionNumberBefore", heading: "κ before", kind: .real),
            .init(key: "conditionNumberAfter", heading: "κ after", kind: .real),
            .init(key: "iterationCount", heading: "steps", kind: .integer),
            .init(key: "relativeOutputError", heading: "output error", kind: .real),
          ],
          rows: matrices.map { matrix in
            [
              .text(matrix.name), ReportCell(matrix.part), ReportCell(matrix.conditionNumberBefore),
              ReportCell(matrix.conditionNumberAfter), .integer(matrix.iterationCount),
              .real(matrix.relativeOutputError),
            ]
          })
      ] + (edits?.tables ?? []),
      notes: (edits?.notes ?? []) + ReportDocument.notes(on: groups))
  }
}

extension CalibrationReport: DocumentedReport {
  package var document: ReportDocument {
    ReportDocument(
      title: "Calibration: \(output)",
      summary: [
        .init("model", model),
        .init("images", .integer(imageCount), kind: .integer),
        .init("patches", .integer(patchCount), kind: .integer),
        .init("pixels of a side", .integer(patchSide), kind: .integer),
        .init("seed", "\(seed)"),
        .init("sites", .integer(sites.count), kind: .integer),
        .init("rows of inputs", .integer(rowCount), kind: .integer),
      ],
      tables: [
        ReportTable(
          title: "Activations",
          columns: [
            .init(key: "name", heading: "site", kind: .text),
            .init(key: "valueCount", heading: "values", kind: .integer),
            .init(key: "columnCount", heading: "columns", kind: .integer),
            .init(key: "minimum", heading: "minimum", kind: .real),
            .init(key: "maximum", heading: "maximum", kind: .real),
          ],
          rows: sites.map { site in
            [
              .text(site.name), .integer(site.valueCount), ReportCell(site.columnCount),
              .real(site.minimum), .real(site.maximum),
            ]
          })
      ])
  }
}
