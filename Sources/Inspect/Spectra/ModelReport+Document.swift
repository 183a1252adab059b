import OrderedCollections
import Reports
import Storage
import Transform

extension ModelReport: DocumentedReport {
  package var document: ReportDocument {
    ReportDocument(
      title: "Model report: \(file)", summary: facts,
      tables: [layerTable] + outlookTables + ruleTables,
      notes: notes, figures: figures)
  }

  package var textDocument: ReportDocument {
    var document = document
    if !listsAll { document.tables[0] = layerTable(of: matrixLayers, adding: folded) }
    // The list of layers is long; what will hurt comes before it.
    document.tables = outlookTables + document.tables.prefix(1) + ruleTables
    return document
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
    if let calibrationFile { facts.append(.init("calibration", calibrationFile)) }
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
    if let calibrationFile {
      notes.append(
        "Output SQNR: predicted from \(calibrationFile), with weight and inputs rounded between their "
          + "smallest and largest values; searched and smaller ranges do better.")
    }
    if let unpredicted {
      let names = unpredicted.prefix(8).joined(separator: ", ")
      notes.append(
        "No prediction for \(unpredicted.count) of the matrices, because the calibration has "
          + "no moments of their inputs: \(names)"
          + (unpredicted.count > 8 ? " and \(unpredicted.count - 8) more." : "."))
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
  var layerTable: ReportTable { layerTable(of: layers) }

  /// Returns the main table of some layers.
  ///
  /// - Parameter others: Rows for other layers: a name, a shape and a size each.
  private func layerTable(
    of layers: [LayerReport], adding others: [FoldedLayers] = []
  ) -> ReportTable {
    let leading = Self.leadingMetrics.map { metricColumn($0) }
    let following = Self.followingMetrics.map { metricColumn($0) }
    let outlook = calibrationFile == nil ? [] : Self.outlookMetrics
    let differences = referenceFile == nil ? [] : [LayerMetric.referenceSQNR]
    let rest = (differences + outlook + Self.otherMetrics).flatMap { metric -> [MetricColumn] in
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
    let columns =
      Self.nameColumns + leading.map(\.column) + [spectrum] + following.map(\.column) + [type]
      + rest.map(\.column) + [note]
    let otherRows = others.map { other in
      columns.map { column -> ReportCell in
        switch column.key {
        case "name": .text(other.name)
        case "shape": .text(other.shape)
        case "elementType": .text(other.elementType)
        case LayerMetric.bytes.key: .integer(other.byteCount)
        case "note": .text("no matrix; --all lists them one by one")
        default: .empty
        }
      }
    }
    return ReportTable(
      title: "Layers", columns: columns,
      rows: layers.map { layer in
        Self.nameCells(layer) + leading.map { $0.cell(layer) }
          + [layer.spectrumOutline.map(ReportCell.series) ?? .empty]
          + following.map { $0.cell(layer) } + [.text(layer.elementType)]
          + rest.map { $0.cell(layer) } + [ReportCell(layer.remark)]
      } + otherRows)
  }

  /// Tensors without a matrix whose names differ only in numbers.
  private struct FoldedLayers {
    var name: String
    var shape: String
    var elementType: String
    var byteCount: Int
    var count: Int
  }

  /// Whether a layer gets a line of its own in plain text: a matrix, or what a rule or a note is
  /// about.
  private static func isListed(_ layer: LayerReport) -> Bool {
    let counts = layer.statistics.map { $0.nanCount + $0.infinityCount } ?? 0
    return layer.matrix != nil || layer.composition != nil || counts > 0
  }

  private var matrixLayers: [LayerReport] { layers.filter(Self.isListed) }

  /// The other layers, counted by group.
  private var folded: [FoldedLayers] {
    var groups: [String: FoldedLayers] = [:]
    var order: [String] = []
    for layer in layers where !Self.isListed(layer) {
      let pattern = Self.pattern(layer.name)
      let shape = ReportShape(layer.shape).forPeople
      if var group = groups[pattern] {
        group.count += 1
        group.byteCount += layer.byteCount
        if group.shape != shape { group.shape = "…" }
        if group.elementType != layer.elementType { group.elementType = "…" }
        groups[pattern] = group
      } else {
        order.append(pattern)
        groups[pattern] = FoldedLayers(
          name: layer.name, shape: shape, elementType: layer.elementType,
          byteCount: layer.byteCount, count: 1)
      }
    }
    return order.compactMap { pattern in
      groups[pattern].map { group in
        var group = group
        if group.count > 1 { group.name = "\(pattern) (\(group.count) tensors)" }
        return group
      }
    }
  }

  /// Returns the name with `*` in place of numbers: `layers.*.norm.weight`.
  private static func pattern(_ name: String) -> String {
    name.split(separator: ".", omittingEmptySubsequences: false)
      .map { !$0.isEmpty && $0.allSatisfy(\.isNumber) ? "*" : $0 }.joined(separator: ".")
  }

  /// What quantization will cost the outputs of layers, the worst first, and channels that cause it.
  private var outlookTables: [ReportTable] {
    let predicted = layers.compactMap { layer in layer.outputOutlook.map { (layer, $0) } }
      .sorted { ($0.1.bits4, $0.0.position) < ($1.1.bits4, $1.0.position) }
    let metrics: [LayerMetric] = [
      .outputSQNR4, .outputSQNR3, .outputSQNR2, .alignment, .concentration, .condition,
    ]
    func row(
      _ layer: LayerReport, _ kind: String, _ channels: [OutlierChannel], count: Int
    ) -> [ReportCell] {
      let list = channels.map { "\($0.index) (\(ReportNumber.real($0.ratio))×)" }
      return [
        .text(layer.title), .text(kind), .integer(count),
        .text(list.joined(separator: ", ") + (count > channels.count ? ", …" : "")),
      ]
    }
    var outliers: [[ReportCell]] = []
    for layer in layers {
      if let outlook = layer.outputOutlook, !outlook.outliers.isEmpty {
        outliers.append(row(layer, "inputs", outlook.outliers, count: outlook.outlierCount))
      }
      if let outputs = layer.outlierOutputs, let count = layer.outlierOutputCount {
        outliers.append(row(layer, "outputs", outputs, count: count))
      }
    }
    return [
      ReportTable(
        title: "What quantization will cost, the worst first",
        columns: [.init(key: "name", heading: "tensor", kind: .text)]
          + metrics.map {
            .init(
              key: $0.key, heading: $0.heading, kind: $0.kind, isOptional: $0 == .condition,
              explanation: $0.explanation)
          },
        rows: predicted.map { layer, _ in
          [.text(layer.title)] + metrics.map { $0.cell($0.value(of: layer)) }
        }),
      ReportTable(
        title: "Outlier channels",
        columns: [
          .init(key: "name", heading: "tensor", kind: .text),
          .init(
            key: "side", heading: "side", kind: .text,
            explanation:
              "Inputs: channels of calibrated activations. Outputs: rows of the weight."),
          .init(key: "count", heading: "channels", kind: .integer),
          .init(
            key: "channels", heading: "channel and its magnitude", kind: .text,
            explanation: "Channels, counted from 0, whose root mean square is at least six times "
              + "the median of all channels. They widen the range that all channels share."),
        ], rows: outliers),
    ].withRows
  }

  private static let leadingMetrics: [LayerMetric] = [.condition, .referenceCondition]
  private static let followingMetrics: [LayerMetric] = [.sigmaMax, .sigmaMin, .stableRank, .bytes]

  private static let outlookMetrics: [LayerMetric] = [
    .outputSQNR4, .outputSQNR3, .outputSQNR2, .alignment, .concentration,
  ]

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
        isOptional: !isLeading, hasBar: metric == .condition || metric == .referenceCondition,
        explanation: metric.explanation),
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
    if calibrationFile != nil {
      figures += heatMap(
        "Predicted output SQNR at 4 bits, dB, by block", LayerMetric.outputSQNR4,
        "Rows are kinds of layers, columns blocks in the file's order. Red cells lose the most.")
    }
    if referenceFile != nil {
      figures += heatMap(
        "Difference to the reference by block, SQNR in dB", LayerMetric.referenceSQNR,
        "The energy of the reference's weight over that of the difference to it. Rows are kinds of "
          + "layers, columns blocks in the file's order. Red cells differ the most; inf is no "
          + "difference.")
    }
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

  /// The most rows and columns of a heat map.
  private static let heatMapLimit = (rows: 40, columns: 128)

  /// Returns a map of a metric with a row per kind of matrix and a column per block; none for fewer
  /// than two cells.
  private func heatMap(
    _ title: String, _ metric: LayerMetric, _ caption: String
  ) -> [ReportFigure] {
    var (kinds, blocks): (OrderedSet<String>, OrderedSet<String>) = ([], [])
    var cells: [String: [String: Double]] = [:]
    for layer in layersInFileOrder where layer.matrix != nil {
      guard let value = metric.value(of: layer), !value.isNaN else { continue }
      let block = layer.name.split(separator: ".").filter { $0.allSatisfy(\.isNumber) }
        .joined(separator: ".")
      let kind = Self.pattern(layer.name) + (layer.part.map { " [\($0)]" } ?? "")
      guard !block.isEmpty else { continue }
      kinds.append(kind)
      blocks.append(block)
      cells[kind, default: [:]][block] = value
    }
    let (rows, columns) = (
      kinds.prefix(Self.heatMapLimit.rows), blocks.prefix(Self.heatMapLimit.columns)
    )
    guard cells.values.reduce(0, { $0 + $1.count }) > 1 else { return [] }
    let left = kinds.count - rows.count + blocks.count - columns.count
    return [
      .heatMap(
        ReportHeatMap(
          title: title,
          caption: caption + (left > 0 ? " \(left) further rows or columns are left out." : ""),
          rows: Self.endings(of: Array(rows)), columns: Array(columns),
          values: rows.map { kind in columns.map { cells[kind]?[$0] } }))
    ]
  }

  /// Returns the parts of patterns after their last number, if those differ.
  private static func endings(of patterns: [String]) -> [String] {
    let endings = patterns.map { pattern in
      pattern.lastIndex(of: "*").map { String(pattern[$0...].dropFirst(2)) } ?? pattern
    }
    return Set(endings).count == patterns.count ? endings : patterns
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
