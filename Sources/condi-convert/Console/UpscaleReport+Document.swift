import Reports
import SuperResolution

extension UpscaleReport: DocumentedReport {
  package var document: ReportDocument {
    ReportDocument(
      title: "Upscaled: \(input)",
      summary: [.init("model", model), .init("images", .integer(images.count), kind: .integer)],
      tables: [
        ReportTable(
          title: "Images",
          columns: [
            .init(key: "input", heading: "image", kind: .text),
            .init(key: "output", heading: "output", kind: .text),
            .init(key: "scale", heading: "scale", kind: .integer),
            .init(key: "width", heading: "width", kind: .integer),
            .init(key: "height", heading: "height", kind: .integer),
          ],
          rows: images.map {
            [
              .text($0.input), .text($0.output), .integer($0.scale), .integer($0.width),
              .integer($0.height),
            ]
          }),
        ReportTable(
          title: "What was left out",
          columns: [
            .init(key: "input", heading: "image", kind: .text),
            .init(key: "what", heading: "what", kind: .text),
            .init(key: "reason", heading: "why", kind: .text),
          ],
          rows: images.flatMap { image in
            image.omissions.map { [.text(image.input), .text($0.what), .text($0.reason)] }
          }),
        ReportTable(
          title: "Not upscaled",
          columns: [
            .init(key: "input", heading: "image", kind: .text),
            .init(key: "message", heading: "why", kind: .text),
          ],
          rows: failures.map { [.text($0.input), .text($0.message)] }),
      ])
  }
}
