import Formats

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
