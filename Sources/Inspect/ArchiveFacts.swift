import Formats
import Reports

extension PackedSummary {
  /// How small a packed file is, as the summaries of reports say it.
  package var facts: [ReportDocument.Fact] {
    var facts: [ReportDocument.Fact] = [
      .init("quantized weights", .integer(quantizedElementCount), kind: .integer),
      .init("bits per quantized weight", .real(bitsPerWeight), kind: .real),
      .init("ratio, as in the papers", .real(ratios.paper), kind: .real),
      .init("ratio, all parameters", .real(ratios.parameters), kind: .real),
    ]
    if let file = ratios.file { facts.append(.init("ratio, file", .real(file), kind: .real)) }
    return facts + [
      .init("ratio, tensor bytes", .real(ratios.tensors), kind: .real),
      .init("payload", .integer(payloadByteCount), kind: .bytes),
      .init("file / payload", .real(fileToPayload), kind: .real),
    ]
  }
}

extension ReportDocument {
  /// Sentences on what could not be read of a model file.
  package static func notes(on unread: [UnreadEntry]?) -> [String] {
    (unread ?? []).sentences.map { "\($0.prefix(1).uppercased())\($0.dropFirst())." }
  }

  /// Sentences on tensors that belong together.
  package static func notes(on groups: [TensorGroup]?) -> [String] {
    (groups ?? []).sentences.map { "\($0.prefix(1).uppercased())\($0.dropFirst())." }
  }
}
