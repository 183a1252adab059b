import Formats
import Reports

/// The effects of exporting a packed model for another runtime, or of importing such a model.
package struct ExportReport: Codable, Hashable, Sendable {
  package static let currentSchemaVersion = 1

  /// The direction of the conversion.
  package enum Direction: String, Codable, CaseIterable, Sendable {
    case export
    case `import`
  }

  package let schemaVersion: Int
  package let direction: Direction
  /// The other format: the output's for exports, the input's for imports.
  package let format: String
  package let input: String
  package let inputByteCount: Int
  package let files: [ExportOutcome.File]
  /// The tensors in the input's order.
  package let tensors: [ExportedTensor]
  package let notes: [String]

  package init(
    _ direction: Direction, format: String, input: String, inputByteCount: Int,
    outcome: ExportOutcome
  ) {
    schemaVersion = Self.currentSchemaVersion
    self.direction = direction
    self.format = format
    self.input = input
    self.inputByteCount = inputByteCount
    files = outcome.files
    tensors = outcome.tensors
    notes = outcome.notes
  }
}

extension ExportReport: DocumentedReport {
  package var document: ReportDocument {
    ReportDocument(title: title, summary: facts, tables: [table], notes: notes)
  }

  private var title: String {
    // A planned conversion has no files.
    guard let output = files.first?.path else { return "Planned for \(format)" }
    return direction == .export
      ? "Exported for \(format): \(output)" : "Imported from \(format): \(output)"
  }

  /// The size of the files, or of the tensors if no files are written.
  private var outputByteCount: Int {
    files.isEmpty
      ? tensors.reduce(0) { $0 + $1.byteCount } : files.reduce(0) { $0 + $1.byteCount }
  }

  private var facts: [ReportDocument.Fact] {
    let lossy = tensors.filter { $0.fidelity == .lossy }
    var facts: [ReportDocument.Fact] = [
      .init("input", input),
      .init("input size", .integer(inputByteCount), kind: .bytes),
      .init(
        files.isEmpty ? "size of all tensors" : "output size", .integer(outputByteCount),
        kind: .bytes),
      .init("exact tensors", .integer(tensors.count - lossy.count), kind: .integer),
      .init("lossy tensors", .integer(lossy.count), kind: .integer),
    ]
    if let largest = lossy.map(\.largestError).max() {
      facts.append(.init("largest error", .real(largest), kind: .real))
    }
    let padded = tensors.filter { $0.paddedColumns != nil }.count
    if padded > 0 {
      facts.append(.init("tensors with padded rows", .integer(padded), kind: .integer))
    }
    return facts
  }

  private var table: ReportTable {
    ReportTable(
      title: "Tensors",
      columns: [
        .init(key: "name", heading: "tensor", kind: .text),
        .init(key: "shape", heading: "shape", kind: .text, audience: .people),
        .init(key: "dimensions", heading: "shape", kind: .text, audience: .programs),
        .init(key: "bitWidth", heading: "bits", kind: .integer),
        .init(key: "form", heading: "written as", kind: .text),
        .init(key: "fidelity", heading: "values", kind: .text),
        .init(key: "largestError", heading: "largest error", kind: .real),
        .init(key: "paddedColumns", heading: "rows of", kind: .integer, isOptional: true),
        .init(key: "byteCount", heading: "size", kind: .bytes),
        .init(key: "changes", heading: "changed", kind: .remark),
      ],
      rows: ordered.map { tensor in
        let shape = ReportShape(tensor.shape)
        return [
          .text(tensor.name), .text(shape.forPeople), .text(shape.forPrograms),
          ReportCell(tensor.bitWidth), .text(tensor.form), .text(tensor.fidelity.rawValue),
          .real(tensor.largestError), ReportCell(tensor.paddedColumns),
          .integer(tensor.byteCount),
          tensor.changes.isEmpty ? .empty : .text(tensor.changes.joined(separator: "; ")),
        ]
      })
  }

  /// Lossy tensors by descending error, then changed ones, then the rest, each in the input's
  /// order.
  private var ordered: [ExportedTensor] {
    let lossy = tensors.filter { $0.fidelity == .lossy }.enumerated().sorted { left, right in
      (right.element.largestError, left.offset) < (left.element.largestError, right.offset)
    }
    let exact = tensors.filter { $0.fidelity == .exact }
    return lossy.map(\.element) + exact.filter { !$0.changes.isEmpty || $0.bitWidth != nil }
      + exact.filter { $0.changes.isEmpty && $0.bitWidth == nil }
  }
}
