import Formats
import Reports

extension PackedSummary {
  /// The compression of a packed file, for the summaries of reports.
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
  /// Returns sentences about the parts of a model file that could not be read.
  package static func notes(on unread: [UnreadEntry]?) -> [String] {
    (unread ?? []).sentences.map { "\($0.prefix(1).uppercased())\($0.dropFirst())." }
  }

  /// Returns sentences about tensors that belong together.
  package static func notes(on groups: [TensorGroup]?) -> [String] {
    (groups ?? []).sentences.map { "\($0.prefix(1).uppercased())\($0.dropFirst())." }
  }
}
