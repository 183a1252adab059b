extension VerificationReport: Report {
  public var document: ReportDocument {
    ReportDocument(
      title: "Verification: \(file)", summary: facts, tables: tables, notes: notes)
  }

  private var facts: [ReportDocument.Fact] {
    var facts: [ReportDocument.Fact] = [
      .init("verdict", isPassed ? "passed" : "FAILED"),
      .init("whole", isWhole ? "yes, every byte is accounted for" : "no"),
      .init("file size", .integer(summary.fileByteCount), kind: .bytes),
    ]
    facts += summary.facts
    if let fidelity {
      facts += [
        .init("reference", fidelity.reference),
        .init("identical tensors", .integer(fidelity.identicalTensorCount), kind: .integer),
        .init(
          "tensors changed by the method", .integer(fidelity.adjustedTensors.count), kind: .integer),
        .init("SQNR of all weights, dB", .real(fidelity.signalToQuantizationNoise), kind: .real),
      ]
    }
    return facts
  }

  private var tables: [ReportTable] {
    var tables: [ReportTable] = []
    if !faults.isEmpty { tables.append(faultTable) }
    if let fidelity, !fidelity.layers.isEmpty { tables.append(fidelity.layerTable) }
    if !gates.isEmpty { tables.append(gateTable) }
    return tables
  }

  private var faultTable: ReportTable {
    ReportTable(
      title: "Faults",
      columns: [
        .init(key: "tensor", heading: "tensor", kind: .text),
        .init(key: "offset", heading: "at byte", kind: .integer),
        .init(key: "message", heading: "fault", kind: .text),
      ],
      rows: faults.map { [ReportCell($0.tensor), ReportCell($0.offset), .text($0.message)] })
  }

  private var gateTable: ReportTable {
    ReportTable(
      title: "Requirements",
      columns: [
        .init(key: "requirement", heading: "requirement", kind: .text),
        .init(key: "found", heading: "found", kind: .real),
        .init(key: "layer", heading: "layer", kind: .text),
        .init(key: "isMet", heading: "met", kind: .text),
      ],
      rows: gates.map {
        [
          .text($0.requirement), ReportCell($0.found), ReportCell($0.layer),
          .text($0.isMet ? "yes" : "NO"),
        ]
      })
  }

  private var notes: [String] {
    guard let fidelity else { return [] }
    let lists = [
      ("differ from the reference though they were to stay", fidelity.alteredTensors),
      ("are in the reference only", fidelity.missingTensors),
      ("are in the packed file only", fidelity.extraTensors),
    ]
    return lists.compactMap { what, names in
      names.isEmpty ? nil : "\(names.count) tensors \(what): \(names.joined(separator: ", "))"
    }
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
