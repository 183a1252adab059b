import Formats

extension VerificationReport: DocumentedReport {
  package var document: ReportDocument {
    ReportDocument(
      title: "Verification: \(file)", summary: facts, tables: tables, notes: notes)
  }

  private var facts: [ReportDocument.Fact] {
    var facts: [ReportDocument.Fact] = [
      .init("verdict", verdict),
      .init("whole", isWhole ? "yes, every byte is accounted for" : "no"),
    ]
    if let summary {
      facts.append(.init("file size", .integer(summary.fileByteCount), kind: .bytes))
      facts += summary.facts
    }
    if let fidelity {
      facts += [
        .init("reference", fidelity.reference),
        .init("identical tensors", .integer(fidelity.identicalTensorCount), kind: .integer),
        .init(
          "tensors changed by the method", .integer(fidelity.adjustedTensors.count), kind: .integer),
        .init("SQNR of all weights, dB", .real(fidelity.signalToQuantizationNoise), kind: .real),
      ]
    }
    if let reproduction {
      facts.append(
        .init("packed again", reproduction.isIdentical ? "the same bytes" : "ANOTHER FILE"))
    }
    if let repairs {
      let count = repairs.count(where: \.isRepairable)
      facts.append(.init("repairable faults", "\(count) of \(repairs.count)"))
    }
    return facts
  }

  private var tables: [ReportTable] {
    var tables: [ReportTable] = []
    if !faults.isEmpty { tables.append(faultTable) }
    if let repairs, !repairs.isEmpty { tables.append(Self.table(of: repairs)) }
    if let reproduction, !reproduction.isIdentical { tables.append(reproduction.table) }
    if let fidelity, !fidelity.layers.isEmpty { tables.append(fidelity.layerTable) }
    if !gates.isEmpty { tables.append(gateTable) }
    return tables
  }

  private var faultTable: ReportTable {
    ReportTable(
      title: "Faults",
      columns: [
        .init(key: "region", heading: "region", kind: .text),
        .init(key: "tensor", heading: "tensor", kind: .text),
        .init(key: "offset", heading: "at byte", kind: .integer),
        .init(key: "byteCount", heading: "bytes", kind: .integer),
        .init(key: "message", heading: "fault", kind: .text),
      ],
      rows: faults.map {
        [
          .text($0.region.rawValue), ReportCell($0.tensor), .integer($0.offset),
          .integer($0.byteCount), .text($0.message),
        ]
      })
  }

  private static func table(of repairs: [Repair]) -> ReportTable {
    ReportTable(
      title: "What the reference can restore",
      columns: [
        .init(key: "region", heading: "region", kind: .text),
        .init(key: "tensor", heading: "tensor", kind: .text),
        .init(key: "offset", heading: "at byte", kind: .integer),
        .init(key: "isRepairable", heading: "repairable", kind: .text),
        .init(key: "method", heading: "from", kind: .text),
        .init(key: "obstacle", heading: "why not", kind: .text),
      ],
      rows: repairs.map {
        [
          .text($0.region.rawValue), ReportCell($0.tensor), .integer($0.offset),
          .text($0.isRepairable ? "yes" : "NO"), ReportCell($0.method?.rawValue),
          ReportCell($0.obstacle),
        ]
      })
  }

  private var gateTable: ReportTable {
    ReportTable(
      title: "Requirements",
      columns: [
        .init(key: "requirement", heading: "requirement", kind: .text),
        .init(key: "found", heading: "found", kind: .real),
        .init(key: "layer", heading: "layer", kind: .text),
        .init(key: "isMet", heading: "met", kind: .text),
        .init(key: "obstacle", heading: "why it could not be measured", kind: .text),
      ],
      rows: gates.map {
        [
          .text($0.requirement), ReportCell($0.found), ReportCell($0.layer),
          .text($0.isMet ? "yes" : "NO"), ReportCell($0.obstacle),
        ]
      })
  }

  private var notes: [String] {
    guard let fidelity else { return [] }
    let lists = [
      ("to stay as in the reference, but different", fidelity.alteredTensors),
      ("with values more than a step from the reference's", fidelity.strayTensors),
      ("in the reference only", fidelity.missingTensors),
      ("in the packed file only", fidelity.extraTensors),
    ]
    return lists.compactMap { what, names in
      names.isEmpty
        ? nil : "\(counted(names.count, "tensor")) \(what): \(names.joined(separator: ", "))"
    }
  }
}

extension VerificationReport.Reproduction {
  fileprivate var table: ReportTable {
    ReportTable(
      title: "Where packing again differs",
      columns: [
        .init(key: "region", heading: "region", kind: .text),
        .init(key: "tensor", heading: "tensor", kind: .text),
        .init(key: "offset", heading: "at byte", kind: .integer),
        .init(key: "message", heading: "difference", kind: .text),
      ],
      rows: deviations.map {
        [
          .text($0.region.rawValue), ReportCell($0.tensor), .integer($0.offset),
          .text($0.message),
        ]
      })
  }
}

extension FidelityReport {
  fileprivate var layerTable: ReportTable {
    ReportTable(
      title: "Quantized layers",
      columns: [
        .init(key: "name", heading: "tensor", kind: .text),
        .init(key: "bitWidth", heading: "bits", kind: .integer),
        .init(key: "signalToQuantizationNoise", heading: "SQNR dB", kind: .real),
        .init(key: "maximumError", heading: "max error", kind: .real),
        .init(key: "maximumErrorInSteps", heading: "in steps", kind: .real),
        .init(key: "clippedShare", heading: "clipped", kind: .share),
      ],
      rows: layers.map {
        [
          .text($0.name), .integer($0.bitWidth), .real($0.signalToQuantizationNoise),
          .real($0.maximumError), .real($0.maximumErrorInSteps), .real($0.clippedShare),
        ]
      })
  }
}
