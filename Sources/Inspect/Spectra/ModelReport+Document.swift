extension ModelReport: Report {
  public var document: ReportDocument {
    ReportDocument(
      title: "Model report: \(file)", summary: facts, tables: [layerTable], notes: notes)
  }

  private var facts: [ReportDocument.Fact] {
    var facts: [ReportDocument.Fact] = []
    if let format { facts.append(.init("format", format)) }
    if let fileByteCount {
      facts.append(.init("file size", .integer(fileByteCount), kind: .bytes))
    }
    facts += [
      .init("tensors", .integer(tensorCount), kind: .integer),
      .init("tensor bytes", .integer(tensorByteCount), kind: .bytes),
      .init("parameters", .integer(parameterCount), kind: .integer),
    ]
    if let condition {
      facts.append(.init("matrices", .integer(condition.matrixCount), kind: .integer))
      if condition.rankDeficientCount > 0 {
        facts.append(
          .init("rank-deficient", .integer(condition.rankDeficientCount), kind: .integer))
      }
      if let mean = condition.mean, let median = condition.median {
        facts.append(.init("mean condition", .real(mean), kind: .real))
        facts.append(.init("median condition", .real(median), kind: .real))
      }
      if let maximum = condition.maximum, let layer = condition.maximumLayer {
        facts.append(.init("largest condition", .real(maximum), kind: .real))
        facts.append(.init("worst tensor", layer))
      }
    }
    if let packed { facts += packed.facts }
    return facts
  }

  private var notes: [String] {
    guard condition != nil else { return [] }
    return [
      "condition = σ max / σ min, infinite when the matrix is rank-deficient in double precision. "
        + "stable rank = squared Frobenius norm / σ max². Sizes in powers of 1,024."
    ]
  }

  private var layerTable: ReportTable {
    ReportTable(
      title: "Layers",
      columns: [
        .init(key: "name", heading: "tensor", kind: .text, audience: .people),
        .init(key: "name", heading: "tensor", kind: .text, audience: .programs),
        .init(key: "part", heading: "part", kind: .text, audience: .programs),
        .init(key: "elementType", heading: "type", kind: .text),
        .init(key: "shape", heading: "shape", kind: .text, audience: .people),
        .init(key: "shape", heading: "shape", kind: .text, audience: .programs),
        .init(key: "rows", heading: "rows", kind: .integer, audience: .programs),
        .init(key: "columns", heading: "columns", kind: .integer, audience: .programs),
        .init(key: "elementCount", heading: "elements", kind: .integer, audience: .programs),
        .init(key: "byteCount", heading: "size", kind: .bytes),
        .init(key: "conditionNumber", heading: "condition", kind: .real, hasBar: true),
        .init(key: "sigmaMax", heading: "σ max", kind: .real),
        .init(key: "sigmaMin", heading: "σ min", kind: .real),
        .init(key: "stableRank", heading: "stable rank", kind: .real),
        .init(
          key: "effectiveRank", heading: "effective rank", kind: .real, audience: .programs),
        .init(key: "numericalRank", heading: "rank", kind: .integer, audience: .programs),
        .init(
          key: "frobeniusNorm", heading: "Frobenius norm", kind: .real, audience: .programs),
        .init(key: "note", heading: "note", kind: .remark),
      ],
      rows: layers.map { layer in
        let shape = ReportShape(layer.part == nil ? layer.shape : layer.matrix ?? [])
        return [
          .text(layer.title), .text(layer.name), ReportCell(layer.part),
          .text(layer.elementType),
          .text(shape.forPeople), .text(shape.forPrograms),
          ReportCell(layer.matrix?.first), ReportCell(layer.matrix?.last),
          .integer(layer.elementCount), .integer(layer.byteCount),
          ReportCell(layer.conditionNumber), ReportCell(layer.sigmaMax),
          ReportCell(layer.sigmaMin),
          ReportCell(layer.stableRank), ReportCell(layer.effectiveRank),
          ReportCell(layer.numericalRank), ReportCell(layer.frobeniusNorm),
          ReportCell(layer.note),
        ]
      })
  }
}
