import Formats

extension ModelReport: DocumentedReport {
  package var document: ReportDocument {
    ReportDocument(
      title: "Model report: \(file)", summary: facts, tables: [layerTable] + ruleTables,
      notes: notes, figures: figures)
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
    if let referenceFile {
      facts.append(.init("reference", referenceFile))
      if let mean = referenceCondition?.mean {
        facts.append(.init("reference's mean condition", .real(mean), kind: .real))
      }
      if let maximum = referenceCondition?.maximum {
        facts.append(.init("reference's largest condition", .real(maximum), kind: .real))
      }
    }
    if let packed { facts += packed.facts }
    for outcome in rules ?? [] {
      let count = outcome.layers.count
      let verdict =
        outcome.isPassed
        ? "passed by \(counted(count, "layer"))"
        : "FAILED by \(outcome.offenders.count) of \(counted(count, "layer"))"
      facts.append(.init("rule: \(outcome.rule)", verdict))
    }
    return facts
  }

  private var notes: [String] {
    var notes: [String] = []
    if condition != nil {
      notes.append(
        "condition = σ max / σ min, infinite when the matrix is rank-deficient in double precision. "
          + "stable rank = squared Frobenius norm / σ max². Sizes in powers of 1,024.")
    }
    if layers.contains(where: { $0.statistics?.quantization != nil }) {
      notes.append(
        "SQNR in dB of rounding to so many bits between the tensor's smallest and largest element; "
          + "searched bounds do better. alpha: exponent of the power law of the σ², fitted from "
          + "\(PowerLawFit.leastCount) values on.")
    }
    return notes + ReportDocument.notes(on: unread) + ReportDocument.notes(on: groups)
  }

  /// The layers that the rules found, a table a rule that found any.
  var ruleTables: [ReportTable] {
    (rules ?? []).filter { !$0.isPassed }.map { outcome in
      ReportTable(
        title: "FAILED: \(outcome.rule)",
        columns: [
          .init(key: "layer", heading: "tensor", kind: .text),
          .init(
            key: outcome.metric.key, heading: outcome.metric.heading, kind: outcome.metric.kind),
          .init(key: "note", heading: "note", kind: .remark),
        ],
        rows: outcome.offenders.map {
          [.text($0.layer), outcome.metric.cell($0.value), ReportCell($0.note)]
        })
    }
  }
}
