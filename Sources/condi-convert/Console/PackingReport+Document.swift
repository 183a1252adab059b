import Jobs
import Reports
import Storage
import Transform

/// `Transform` creates the value and `Reports` renders it; this extension connects them.
extension PackingReport: DocumentedReport {
  package var document: ReportDocument {
    var facts: [ReportDocument.Fact] = [
      .init("source", input),
      .init("source size", .integer(sourceByteCount), kind: .bytes),
      .init("packed size", .integer(summary.fileByteCount), kind: .bytes),
      .init("recipe", recipe),
      .init("tensors", .integer(tensorCount), kind: .integer),
      .init("quantized tensors", .integer(summary.quantizedTensorCount), kind: .integer),
      .init("method", method.rawValue),
    ]
    if method != .nearest {
      facts += [
        .init(
          "calibration", calibration ?? "none: weights only, inputs assumed to be white (H = I)"),
        .init("quantized activations", .integer(activationCount), kind: .integer),
      ]
    }
    facts += distillation?.facts ?? []
    if let root { facts.insert(.init("part taken", root), at: 1) }
    return ReportDocument(
      title: "Packed: \(output)", summary: facts + summary.facts + (edits?.facts ?? []),
      tables: [kindTable, layerTable] + kept.tables + (edits?.tables ?? []),
      notes: (edits?.notes ?? []) + ReportDocument.notes(on: unread)
        + ReportDocument.notes(on: groups) + kept.notes
        + [Recipe.remark(onTables: layers.map { ($0.name, $0.bitWidth) })].compactMap(\.self))
  }

  /// The quantized tensors grouped by the last parts of their names, which identify the kind of
  /// layer.
  private var kindTable: ReportTable {
    var kinds: [(name: String, layers: [QuantizationSummary])] = []
    for layer in layers {
      let name = layer.name.split(separator: ".").suffix(2).joined(separator: ".")
      if let index = kinds.firstIndex(where: { $0.name == name }) {
        kinds[index].layers.append(layer)
      } else {
        kinds.append((name, [layer]))
      }
    }
    return ReportTable(
      title: "Quantized weights by kind",
      columns: [
        .init(key: "kind", heading: "kind", kind: .text),
        .init(key: "count", heading: "tensors", kind: .integer),
        .init(key: "bits", heading: "bits", kind: .text),
        .init(key: "payloadByteCount", heading: "size", kind: .bytes),
        .init(key: "lowestSQNR", heading: "lowest SQNR dB", kind: .real),
        .init(key: "highestSQNR", heading: "highest SQNR dB", kind: .real),
      ],
      rows: kinds.map { kind in
        let noise = kind.layers.compactMap(\.signalToQuantizationNoise)
        let bits = Set(kind.layers.map(\.bitWidth)).sorted().map(String.init)
        return [
          .text(kind.name), .integer(kind.layers.count), .text(bits.joined(separator: ", ")),
          .integer(kind.layers.reduce(0) { $0 + $1.payloadByteCount }), ReportCell(noise.min()),
          ReportCell(noise.max()),
        ]
      })
  }

  private var layerTable: ReportTable {
    ReportTable(
      title: "Quantized weights",
      columns: [
        .init(key: "name", heading: "tensor", kind: .text),
        .init(key: "bitWidth", heading: "bits", kind: .integer),
        .init(key: "granularity", heading: "bounds per", kind: .text),
        .init(key: "parts", heading: "parts", kind: .integer),
        .init(key: "payloadByteCount", heading: "size", kind: .bytes),
        .init(key: "signalToQuantizationNoise", heading: "SQNR dB", kind: .real),
        .init(key: "maximumError", heading: "max error", kind: .real),
        .init(key: "clippedShare", heading: "clipped", kind: .share),
        .init(
          key: "relativeOutputError", heading: "output error", kind: .real, isOptional: true),
        .init(
          key: "conditionNumberAfter", heading: "κ", kind: .real, isOptional: true),
      ],
      rows: layers.map { layer in
        [
          .text(layer.name), .integer(layer.bitWidth), .text(layer.granularity),
          .integer(layer.parts), .integer(layer.payloadByteCount),
          ReportCell(layer.signalToQuantizationNoise), .real(layer.maximumError),
          .real(layer.clippedShare), ReportCell(layer.relativeOutputError),
          ReportCell(layer.conditionNumberAfter),
        ]
      })
  }
}

extension [KeptTensor] {
  /// Tables of the tensors left in full precision: by reason, then by tensor.
  var tables: [ReportTable] {
    guard !isEmpty else { return [] }
    return [
      ReportTable(
        title: "Kept in full precision",
        columns: [
          .init(key: "reason", heading: "reason", kind: .text),
          .init(key: "count", heading: "tensors", kind: .integer),
          .init(key: "byteCount", heading: "size", kind: .bytes),
          .init(key: "share", heading: "of all bytes", kind: .share),
        ],
        rows: KeptTensor.groups(self).map { group in
          [
            .text(group.reason), .integer(group.names.count), .integer(group.byteCount),
            .real(group.share),
          ]
        }, isSummary: true),
      ReportTable(
        title: "Kept tensors, the largest first",
        columns: [
          .init(key: "name", heading: "tensor", kind: .text),
          .init(key: "byteCount", heading: "size", kind: .bytes),
          .init(key: "share", heading: "of all bytes", kind: .share),
          .init(key: "reason", heading: "reason", kind: .text),
        ],
        rows: sorted { ($0.share ?? -1, $0.byteCount) > ($1.share ?? -1, $1.byteCount) }
          .map { tensor in
            [
              .text(tensor.name), .integer(tensor.byteCount), ReportCell(tensor.share),
              .text(tensor.reason),
            ]
          }),
    ]
  }

  /// A line stating their share if it exceeds a tenth.
  var notes: [String] {
    KeptTensor.remark(on: self).map { ["\($0.prefix(1).uppercased())\($0.dropFirst())."] } ?? []
  }
}

extension DistillationSummary {
  fileprivate var facts: [ReportDocument.Fact] {
    [
      .init("distillation steps", .integer(stepCount), kind: .integer),
      .init("distillation s", .real(seconds), kind: .real),
      .init("kept after step", .integer(keptStepCount), kind: .integer),
      .init("first loss", ReportCell(firstLoss), kind: .real),
      .init("last loss", ReportCell(lastLoss), kind: .real),
      .init("PSNR to full precision before dB", .real(psnrBefore), kind: .real),
      .init("PSNR to full precision after dB", .real(psnrAfter), kind: .real),
    ]
  }
}
