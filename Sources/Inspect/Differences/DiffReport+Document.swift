import Reports
import Storage
import SuperResolution

extension DiffReport: DocumentedReport {
  package var document: ReportDocument {
    ReportDocument(
      title: "Difference report: \(isSame ? "the same" : "different")", summary: facts,
      tables: [differenceTable] + (outputs.map { [$0.table] } ?? []), notes: notes,
      figures: histograms.isEmpty ? [] : [.histograms(title: "Histograms", histograms)])
  }

  private var facts: [ReportDocument.Fact] {
    func side(_ side: Side) -> String {
      side.format.map { "\(side.file) (\($0))" } ?? side.file
    }
    func count(_ label: String, _ count: Int) -> ReportDocument.Fact {
      .init(label, .integer(count), kind: .integer)
    }
    let changes = worst.map { [ReportDocument.Fact("lowest SNR", $0)] } ?? []
    let limits = tolerances.map { limit in
      ReportDocument.Fact(
        "tolerance of \(limit.pattern)", .real(limit.tolerance), kind: .real)
    }
    return [.init("A", side(a)), .init("B", side(b)), .init("verdict", verdict)]
      + (outputs?.facts ?? []) + changes + [
        count("tensors in A", a.tensorCount), count("tensors in B", b.tensorCount),
        .init("bytes of A", .integer(a.tensorByteCount), kind: .bytes),
        .init("bytes of B", .integer(b.tensorByteCount), kind: .bytes),
        count("the same", same.count), count("changed", changed.count),
        count("renamed", renamed.count),
        count("laid out otherwise", relaid.count), count("only in A", onlyInA.count),
        count("only in B", onlyInB.count), count("other values changed", values.count),
        .init("tolerance", .real(tolerance), kind: .real),
      ] + limits
  }

  private var notes: [String] {
    var notes: [String] = []
    if changed.contains(where: { $0.numbers != nil }) {
      notes.append(
        "max abs = max |b − a|; max rel = max |b − a| / |a|; RMSE = root of the mean of (b − a)²; "
          + "NMSE = Σ(b − a)² / Σa²; SNR in decibels = −10 log10 of NMSE; ULP = the most numbers of "
          + "the type between a and b.")
    }
    if outputs != nil {
      notes.append(
        "Outputs: PSNR on luma in dB, of 8 bits, as papers measure it: of B's output against A's, and "
          + "of both against the image in high resolution.")
    }
    if !metadata.isEmpty { notes.append("Metadata does not count in the verdict.") }
    for (label, side) in [("A", a), ("B", b)] {
      notes += (side.groups ?? []).sentences.map { "\(label): \($0)." }
    }
    return notes
  }

  private var hasConditionNumbers: Bool { changed.contains { $0.conditionNumbers != nil } }

  private var differenceTable: ReportTable {
    let rows: [[ReportCell]] =
      changed.map(row) + renamed.map(row) + relaid.map(row)
      + onlyInA.map { row($0, change: "only in A", inA: true) }
      + onlyInB.map { row($0, change: "only in B", inA: false) }
      + values.map { row($0, change: "value") } + metadata.map { row($0, change: "metadata") }
    return ReportTable(
      title: "Differences",
      columns: [
        .init(key: "name", heading: "name", kind: .text),
        .init(key: "change", heading: "change", kind: .text),
        .init(key: "what", heading: "A → B", kind: .text, audience: .people),
        .init(key: "a", heading: "A", kind: .text, audience: .programs),
        .init(key: "b", heading: "B", kind: .text, audience: .programs),
        .init(
          key: "changedElementCount", heading: "changed elements", kind: .integer,
          audience: .programs),
        .init(key: "changedShare", heading: "changed", kind: .share),
        .init(key: "maximumAbsolute", heading: "max abs", kind: .real),
        .init(key: "maximumRelative", heading: "max rel", kind: .real, isOptional: true),
        .init(
          key: "maximumUnitsInLastPlace", heading: "max ULP", kind: .integer, isOptional: true),
        .init(key: "rootMeanSquare", heading: "RMSE", kind: .real),
        .init(key: "normalizedMeanSquare", heading: "NMSE", kind: .real, isOptional: true),
        .init(key: "signalToNoise", heading: "SNR dB", kind: .real),
        .init(key: "cosine", heading: "cosine", kind: .real, isOptional: true),
        .init(key: "conditionNumberA", heading: "κ(A)", kind: .real),
        .init(key: "conditionNumberB", heading: "κ(B)", kind: .real),
        .init(key: "note", heading: "note", kind: .remark),
      ], rows: rows
    ).selectingColumns { column in
      hasConditionNumbers || !column.key.hasPrefix("conditionNumber")
    }
  }

  private func row(_ difference: TensorDifference) -> [ReportCell] {
    let (a, b) = (difference.a, difference.b)
    let change =
      switch difference.kind {
      case .shape: "shape"
      case .elementType: difference.numbers?.changedElementCount == 0 ? "type only" : "type"
      case .values: "values"
      }
    let type =
      a.elementType == b.elementType ? a.elementType : "\(a.elementType) → \(b.elementType)"
    let (shapeA, shapeB) = (ReportShape(a.shape).forPeople, ReportShape(b.shape).forPeople)
    let shape = shapeA == shapeB ? shapeA : "\(shapeA) → \(shapeB)"
    let nameB = difference.nameB.map { " → \($0)" } ?? ""
    return row(
      difference.name, change, what: "\(type) \(shape)\(nameB)",
      a: forPrograms(a.elementType, a.shape),
      b: (difference.nameB.map { "\($0) " } ?? "") + forPrograms(b.elementType, b.shape),
      numbers: difference.numbers, conditionNumbers: difference.conditionNumbers,
      note: difference.note)
  }

  private func row(_ tensor: RenamedTensor) -> [ReportCell] {
    let text = forPrograms(tensor.elementType, tensor.shape)
    return row(
      tensor.nameA, "renamed", what: "→ \(tensor.nameB)", a: "\(tensor.nameA) \(text)",
      b: "\(tensor.nameB) \(text)")
  }

  private func row(_ tensor: RelaidTensor) -> [ReportCell] {
    let (a, b) = (tensor.namesA.joined(separator: " "), tensor.namesB.joined(separator: " "))
    let isSameName = tensor.namesA == tensor.namesB
    return row(a, tensor.change.rawValue, what: isSameName ? "" : "→ \(b)", a: a, b: b)
  }

  private func row(_ tensor: UnmatchedTensor, change: String, inA: Bool) -> [ReportCell] {
    let text = forPrograms(tensor.elementType, tensor.shape)
    return row(
      tensor.name, change,
      what: "\(tensor.elementType) \(ReportShape(tensor.shape).forPeople)", a: inA ? text : nil,
      b: inA ? nil : text)
  }

  private func row(_ value: ValueDifference, change: String) -> [ReportCell] {
    row(
      value.name, change, what: "\(value.a ?? "none") → \(value.b ?? "none")", a: value.a,
      b: value.b)
  }

  private func row(
    _ name: String, _ change: String, what: String, a: String?, b: String?,
    numbers: NumberComparison? = nil,
    conditionNumbers: TensorDifference.ConditionNumbers? = nil, note: String? = nil
  ) -> [ReportCell] {
    [
      .text(name), .text(change), .text(what), ReportCell(a), ReportCell(b),
      ReportCell(numbers?.changedElementCount), ReportCell(numbers?.changedShare),
      ReportCell(numbers?.maximumAbsolute), ReportCell(numbers?.maximumRelative),
      ReportCell(numbers?.maximumUnitsInLastPlace.map { Int(clamping: $0) }),
      ReportCell(numbers?.rootMeanSquare), ReportCell(numbers?.normalizedMeanSquare),
      ReportCell(numbers?.signalToNoise), ReportCell(numbers?.cosine),
      ReportCell(conditionNumbers?.a), ReportCell(conditionNumbers?.b), ReportCell(note),
    ]
  }

  private func forPrograms(_ elementType: String, _ shape: [Int]) -> String {
    "\(elementType) \(ReportShape(shape).forPrograms)"
  }
}

extension DiffReport {
  /// The distributions of the changes' magnitudes, for the tensors that changed most.
  var histograms: [ReportHistogram] {
    let measured = changed.compactMap { change in
      change.numbers.flatMap { numbers in
        numbers.histogram.map { (change: change, numbers: numbers, histogram: $0) }
      }
    }
    return measured.sorted { $0.numbers.signalToNoise < $1.numbers.signalToNoise }
      .prefix(Self.histogramLimit).map { found in
        let low = found.histogram.lowestExponent
        return ReportHistogram(
          title: found.change.name,
          caption:
            "|b − a| in powers of two, from 2^\(low) to 2^\(low + found.histogram.counts.count)"
            + "; \(found.numbers.changedElementCount) of \(found.numbers.elementCount) changed",
          bins: found.histogram.counts.enumerated().map { index, count in
            ReportHistogram.Bin(label: "2^\(low + index) to 2^\(low + index + 1)", count: count)
          })
      }
  }

  /// The largest number of histograms on a page, which bounds reports on thousands of tensors.
  private static let histogramLimit = 48
}

extension OutputComparison {
  fileprivate var facts: [ReportDocument.Fact] {
    var facts: [ReportDocument.Fact] = [
      .init("data set", "\(dataset), ×\(scale), \(counted(images.count, "image"))"),
      .init("outputs of B against A, mean dB", .real(meanPSNR ?? .infinity), kind: .real),
    ]
    if identicalCount > 0 {
      facts.append(.init("images with the same output", .integer(identicalCount), kind: .integer))
    }
    if let gainPSNR {
      facts.append(.init("gain of B over A in quality, dB", .real(gainPSNR), kind: .real))
    }
    return facts
  }

  fileprivate var table: ReportTable {
    ReportTable(
      title: "Outputs",
      columns: [
        .init(key: "image", heading: "image", kind: .text),
        .init(key: "psnr", heading: "B against A dB", kind: .real),
        .init(key: "ssim", heading: "SSIM", kind: .real),
        .init(key: "psnrA", heading: "PSNR of A dB", kind: .real),
        .init(key: "psnrB", heading: "PSNR of B dB", kind: .real),
        .init(key: "gain", heading: "gain dB", kind: .real),
      ],
      rows: images.map {
        [
          .text($0.name), .real($0.psnr), .real($0.ssim), .real($0.psnrA), .real($0.psnrB),
          ReportCell($0.psnrA.isFinite && $0.psnrB.isFinite ? $0.psnrB - $0.psnrA : nil),
        ]
      })
  }
}
