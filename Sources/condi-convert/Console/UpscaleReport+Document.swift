import Reports
import SuperResolution

extension UpscaleReport: DocumentedReport {
  package var document: ReportDocument {
    ReportDocument(
      title: "Upscaled: \(input)",
      summary: [
        .init("model", model), .init("scale", "×\(scale)"), .init("output", output),
        .init("pixels", "\(width)×\(height)"),
      ],
      tables: [
        ReportTable(
          title: "What was left out",
          columns: [
            .init(key: "what", heading: "what", kind: .text),
            .init(key: "reason", heading: "why", kind: .text),
          ],
          rows: omissions.map { [.text($0.what), .text($0.reason)] })
      ])
  }
}
