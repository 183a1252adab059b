import Formats

extension ModelReport {
  /// The drawings of the HTML report.
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

  /// The layers as they lie in the file, q before k before v.
  var layersInFileOrder: [LayerReport] {
    let parts = ["q": 0, "k": 1, "v": 2]
    return layers.sorted {
      ($0.position, parts[$0.part ?? ""] ?? 0) < ($1.position, parts[$1.part ?? ""] ?? 0)
    }
  }

  /// The condition numbers in the file's order, beside the reference's.
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

  /// Bytes summed up by group, the largest first; what is left after 24 groups in one.
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

  /// The name's parts up to its first number: `layers.0` of `layers.0.blocks.1.attn.qkv.weight`.
  private static func block(_ name: String) -> String {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    guard let number = parts.firstIndex(where: { !$0.isEmpty && $0.allSatisfy(\.isNumber) }) else {
      return parts.count > 1 ? parts.dropLast().joined(separator: ".") : name
    }
    return parts[...number].joined(separator: ".")
  }

  /// The name's last two parts, which tell a layer's kind: `qkv.weight`.
  private static func kind(_ name: String) -> String {
    name.split(separator: ".").suffix(2).joined(separator: ".")
  }
}
