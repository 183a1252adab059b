extension ModelReport {
  /// The main table: a row a layer, a column a metric.
  ///
  /// Plain text keeps the columns that answer "which layers are ill-conditioned and why" and the one
  /// that the layers are sorted by, and has the others while there is room.
  var layerTable: ReportTable {
    let leading = Self.leadingMetrics.map { metricColumn($0) }
    let following = Self.followingMetrics.map { metricColumn($0) }
    let rest = Self.otherMetrics.flatMap { metric -> [MetricColumn] in
      // Counts that are nearly always zero are for people only where they aren't.
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
  /// What the row's numbers don't say: why there are none, or what they are of.
  fileprivate var remark: String? {
    let remarks = [note, view, composition, differentReferenceNote].compactMap { $0 }
    return remarks.isEmpty ? nil : remarks.joined(separator: "; ")
  }

  /// The reference's note, unless it says what the layer's own says.
  private var differentReferenceNote: String? {
    guard let theirs = reference?.note, theirs != note else { return nil }
    return "reference: \(theirs)"
  }
}
