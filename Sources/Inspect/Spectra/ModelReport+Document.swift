import Reports
import Storage

extension ModelReport: DocumentedReport {
  package var document: ReportDocument {
    ReportDocument(
      title: "Model report: \(file)", summary: facts, tables: [layerTable] + ruleTables,
      notes: notes, figures: figures)
  }

  private var facts: [ReportDocument.Fact] {
    var facts: [ReportDocument.Fact] = []
    if let format { facts.append(.init("format", format)) }
    if let network { facts.append(.init("network", network)) }
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
        "SQNR in dB of rounding to 2, 3 or 4 bits between the tensor's smallest and largest "
          + "element; searched bounds do better. alpha: exponent of the power law of the σ², fitted to "
          + "\(PowerLawFit.leastCount) values or more.")
    }
    return notes + ReportDocument.notes(on: unread) + ReportDocument.notes(on: groups)
  }

  /// The offending layers, one table per failed rule.
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

extension ModelReport {
  /// The main table: one row per layer, one column per metric.
  ///
  /// Plain text keeps the columns that show which layers are ill-conditioned and why, and the sort
  /// column; others are shown if there is room.
  var layerTable: ReportTable {
    let leading = Self.leadingMetrics.map { metricColumn($0) }
    let following = Self.followingMetrics.map { metricColumn($0) }
    let rest = Self.otherMetrics.flatMap { metric -> [MetricColumn] in
      // Counts that are almost always zero are shown to people only if they are not.
      guard metric == .nan || metric == .infinities || metric == .zeros else {
        return [metricColumn(metric)]
      }
      return [
        metricColumn(metric, audience: .people, hidesZero: true),
        metricColumn(metric, audience: .programs),
      ]
    }
    let spectrum = ReportTable.Column(
      key: "spectrum", heading: "spectrum", kind: .spectrum, audience: .people)
    let type = ReportTable.Column(
      key: "elementType", heading: "type", kind: .text, isOptional: true)
    let note = ReportTable.Column(key: "note", heading: "note", kind: .remark)
    return ReportTable(
      title: "Layers",
      columns: Self.nameColumns + leading.map(\.column) + [spectrum] + following.map(\.column)
        + [type] + rest.map(\.column) + [note],
      rows: layers.map { layer in
        Self.nameCells(layer) + leading.map { $0.cell(layer) }
          + [layer.spectrumOutline.map(ReportCell.series) ?? .empty]
          + following.map { $0.cell(layer) } + [.text(layer.elementType)]
          + rest.map { $0.cell(layer) } + [ReportCell(layer.remark)]
      })
  }

  private static let leadingMetrics: [LayerMetric] = [.condition, .referenceCondition]
  private static let followingMetrics: [LayerMetric] = [.sigmaMax, .sigmaMin, .stableRank, .bytes]

  private static let otherMetrics: [LayerMetric] = [
    .sqnr4, .alpha, .effectiveRank, .rank, .sqnr3, .sqnr2, .channelSpread, .kurtosis, .entropy,
    .frobenius, .nuclear, .zeros, .nan, .infinities,
  ]

  private static let nameColumns: [ReportTable.Column] = [
    .init(key: "name", heading: "tensor", kind: .text, audience: .people),
    .init(key: "name", heading: "tensor", kind: .text, audience: .programs),
    .init(key: "part", heading: "part", kind: .text, audience: .programs),
    .init(key: "position", heading: "position", kind: .integer, audience: .programs),
    .init(key: "shape", heading: "shape", kind: .text, audience: .people),
    .init(key: "shape", heading: "shape", kind: .text, audience: .programs),
    .init(key: "rows", heading: "rows", kind: .integer, audience: .programs),
    .init(key: "columns", heading: "columns", kind: .integer, audience: .programs),
    .init(key: "elementCount", heading: "elements", kind: .integer, audience: .programs),
  ]

  private static func nameCells(_ layer: LayerReport) -> [ReportCell] {
    let shape = ReportShape(layer.part == nil ? layer.shape : layer.matrix ?? [])
    return [
      .text(layer.title), .text(layer.name), ReportCell(layer.part), .integer(layer.position),
      .text(shape.forPeople), .text(shape.forPrograms),
      ReportCell(layer.matrix?.first), ReportCell(layer.matrix?.last),
      .integer(layer.elementCount),
    ]
  }

  private struct MetricColumn {
    let metric: LayerMetric
    let column: ReportTable.Column
    let hidesZero: Bool

    func cell(_ layer: LayerReport) -> ReportCell {
      let value = metric.value(of: layer)
      return hidesZero && value == 0 ? .empty : metric.cell(value)
    }
  }

  private func metricColumn(
    _ metric: LayerMetric, audience: ReportTable.Column.Audience = .everyone,
    hidesZero: Bool = false
  ) -> MetricColumn {
    let isLeading =
      Self.leadingMetrics.contains(metric)
      || Self.followingMetrics.contains(metric) && metric != .bytes
      || metric.rawValue == sortedBy
    return MetricColumn(
      metric: metric,
      column: ReportTable.Column(
        key: metric.key, heading: metric.heading, kind: metric.kind, audience: audience,
        isOptional: !isLeading, hasBar: metric == .condition || metric == .referenceCondition),
      hidesZero: hidesZero)
  }
}

extension LayerReport {
  /// Remarks on the row: why numbers are missing, or what they refer to.
  fileprivate var remark: String? {
    let remarks = [note, view, composition, differentReferenceNote].compactMap { $0 }
    return remarks.isEmpty ? nil : remarks.joined(separator: "; ")
  }

  /// The reference's note, unless it equals the layer's own.
  private var differentReferenceNote: String? {
    guard let theirs = reference?.note, theirs != note else { return nil }
    return "reference: \(theirs)"
  }
}

extension ModelReport {
  /// The figures of the HTML report.
  var figures: [ReportFigure] {
    var figures: [ReportFigure] = []
    if let depth = conditionByDepth { figures.append(depth) }
    if let packed {
      let ratios = [
        ("as in the papers", packed.ratios.paper), ("all parameters", packed.ratios.parameters),
        ("tensor bytes", packed.ratios.tensors),
      ]
      figures.append(
        .bars(
          title: "Compression ratios",
          rows: ratios.map { .init(label: $0, value: $1, text: "\(ReportNumber.real($1))×") }))
    }
    for (title, group) in [
      ("Size by block", Self.block), ("Size by kind", Self.kind),
    ] {
      let bars = sizes(by: group)
      let suffix = packed == nil ? "" : ", as dequantized"
      if bars.count > 1 { figures.append(.bars(title: title + suffix, rows: bars)) }
    }
    return figures
  }

  /// The layers in file order, q before k before v.
  var layersInFileOrder: [LayerReport] {
    let parts = ["q": 0, "k": 1, "v": 2]
    return layers.sorted {
      ($0.position, parts[$0.part ?? ""] ?? 0) < ($1.position, parts[$1.part ?? ""] ?? 0)
    }
  }

  /// The condition numbers in file order, next to the reference's.
  private var conditionByDepth: ReportFigure? {
    let ordered = layersInFileOrder.filter { $0.conditionNumber != nil }
    guard ordered.count > 1 else { return nil }
    func series(_ label: String, _ value: (LayerReport) -> Double?) -> ReportFigure.Series {
      ReportFigure.Series(
        label: label,
        points: ordered.enumerated().compactMap { position, layer in
          value(layer).map { .init(position: position, label: layer.title, value: $0) }
        })
    }
    var all = [series(file) { $0.conditionNumber }]
    if let referenceFile {
      all.append(series("reference: \(referenceFile)") { $0.reference?.conditionNumber })
    }
    return .lines(
      title: "Condition number by depth",
      axis: "Matrices in the file's order, the first on the left; points name their layers. "
        + "Infinite values stand at the upper edge.", series: all)
  }

  /// Returns the bytes summed by group, largest first; groups after the first 24 are combined.
  private func sizes(by group: (String) -> String) -> [ReportFigure.Bar] {
    var bytes: [String: Int] = [:]
    for layer in layers { bytes[group(layer.name), default: 0] += layer.byteCount }
    let sorted = bytes.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
    let rest = sorted.dropFirst(24)
    let sum = rest.reduce(0) { $0 + $1.value }
    let shown =
      sorted.prefix(24).map { ($0.key, $0.value) }
      + (rest.isEmpty ? [] : [(counted(rest.count, "other"), sum)])
    return shown.map { .init(label: $0, value: Double($1), text: ReportNumber.bytes($1)) }
  }

  /// Returns the parts of the name up to its first number: `layers.0` for
  /// `layers.0.blocks.1.attn.qkv.weight`.
  private static func block(_ name: String) -> String {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    guard let number = parts.firstIndex(where: { !$0.isEmpty && $0.allSatisfy(\.isNumber) }) else {
      return parts.count > 1 ? parts.dropLast().joined(separator: ".") : name
    }
    return parts[...number].joined(separator: ".")
  }

  /// Returns the last two parts of the name, which identify the kind of layer: `qkv.weight`.
  private static func kind(_ name: String) -> String {
    name.split(separator: ".").suffix(2).joined(separator: ".")
  }
}
