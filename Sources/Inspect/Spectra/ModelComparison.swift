import Reports

/// Several models side by side, layer by layer.
///
/// ```swift
/// let reports = try ["model.pth", "model.condi"].map { path in
///   try ModelReport(archive: FormatRegistry.standard.open(path), file: path)
/// }
/// print(try ModelComparison(models: reports).rendered(as: .markdown))
/// ```
public struct ModelComparison: Codable, Hashable, Sendable {
  /// The version of the JSON form, `schemas/model-comparison.schema.json`.
  package static let currentSchemaVersion = 1

  /// The version of the JSON form.
  public var schemaVersion = Self.currentSchemaVersion
  /// The models' reports, in the requested order.
  public var models: [ModelReport]

  /// Creates a comparison of reports.
  ///
  /// - Precondition: There are at least two models.
  public init(models: [ModelReport]) {
    precondition(models.count >= 2, "one model is compared with nothing")
    self.models = models
  }

  /// Whether every model passes all rules.
  public var isPassed: Bool { models.allSatisfy(\.isPassed) }

  /// The compared metric: the sort key of the layers, or the condition number.
  private var metric: LayerMetric {
    models.first.flatMap { LayerMetric(rawValue: $0.sortedBy) } ?? .condition
  }
}

extension ModelComparison: DocumentedReport {
  package var document: ReportDocument {
    ReportDocument(
      title: "\(models.count) models", summary: [], tables: [layerTable, modelTable] + ruleTables,
      notes: models.enumerated().map { "\(Self.label($0)) is \($1.file)." }, figures: figures)
  }

  /// Returns `A`, `B`, …, and numbers after Z.
  private static func label(_ index: Int) -> String {
    index < 26 ? String(UnicodeScalar(UInt8(ascii: "A") + UInt8(index))) : "#\(index + 1)"
  }

  private var modelTable: ReportTable {
    let columns = models.indices.map {
      ReportTable.Column(key: Self.label($0), heading: Self.label($0), kind: .real)
    }
    let rows: [(String, (ModelReport) -> Double?)] = [
      ("tensors", { Double($0.tensorCount) }), ("parameters", { Double($0.parameterCount) }),
      ("tensor bytes", { Double($0.tensorByteCount) }),
      ("matrices", { ($0.condition?.matrixCount).map(Double.init) }),
      ("rank-deficient", { ($0.condition?.rankDeficientCount).map(Double.init) }),
      ("mean condition", { $0.condition?.mean }),
      ("median condition", { $0.condition?.median }),
      ("largest condition", { $0.condition?.maximum }),
    ]
    return ReportTable(
      title: "Models", columns: [.init(key: "quantity", heading: "", kind: .text)] + columns,
      rows: rows.map { label, value in
        [.text(label)]
          + models.map { model in
            guard let value = value(model) else { return .empty }
            return Int(exactly: value).map(ReportCell.integer) ?? .real(value)
          }
      }, isSummary: true)
  }

  /// One row per layer of any model, in the order of the first model that has it.
  private var layerTable: ReportTable {
    var order: [[String]] = []
    var titles: [[String]: String] = [:]
    let byIdentity = models.map { model in
      Dictionary(model.layers.map { ($0.identity, $0) }, uniquingKeysWith: { first, _ in first })
    }
    for layer in models.flatMap(\.layers) where titles[layer.identity] == nil {
      titles[layer.identity] = layer.title
      order.append(layer.identity)
    }
    let shape = ReportTable.Column(key: "shape", heading: "shape", kind: .text)
    let columns = models.indices.map { index in
      ReportTable.Column(
        key: "\(metric.key)\(Self.label(index))", heading: "\(metric.heading) \(Self.label(index))",
        kind: metric.kind, hasBar: metric == .condition)
    }
    return ReportTable(
      title: "Layers",
      columns: [.init(key: "name", heading: "tensor", kind: .text), shape] + columns + [
        .init(key: "note", heading: "note", kind: .remark)
      ],
      rows: order.map { identity in
        let layers = byIdentity.map { $0[identity] }
        let shapes = layers.map { $0.map { ReportShape($0.shape).forPeople } }
        let distinct = Set(shapes.compactMap { $0 })
        let missing = layers.indices.filter { layers[$0] == nil }.map(Self.label)
        var remarks = Set(layers.compactMap { $0?.note }).sorted()
        if !missing.isEmpty { remarks.append("not in \(missing.joined(separator: ", "))") }
        return [
          .text(titles[identity] ?? ""),
          .text(
            distinct.count == 1
              ? distinct.first ?? "" : shapes.map { $0 ?? "–" }.joined(separator: " | ")),
        ] + layers.map { metric.cell($0.flatMap(metric.value)) }
          + [remarks.isEmpty ? .empty : .text(remarks.joined(separator: "; "))]
      })
  }

  private var ruleTables: [ReportTable] {
    models.flatMap { model in
      model.ruleTables.map { table in
        ReportTable(
          title: "\(model.file): \(table.title)", columns: table.columns, rows: table.rows)
      }
    }
  }

  private var figures: [ReportFigure] {
    // Each layer has the same position in every series, in the table's order.
    var places: [[String]: Int] = [:]
    for layer in models.flatMap(\.layersInFileOrder) where places[layer.identity] == nil {
      places[layer.identity] = places.count
    }
    let series = models.map { model in
      ReportFigure.Series(
        label: model.file,
        points: model.layersInFileOrder.compactMap { layer in
          guard let value = layer.conditionNumber, let place = places[layer.identity] else {
            return nil
          }
          return .init(position: place, label: layer.title, value: value)
        })
    }
    return [
      .lines(
        title: "Condition number by depth", axis: "Layers in the first file's order.",
        series: series)
    ]
  }
}
