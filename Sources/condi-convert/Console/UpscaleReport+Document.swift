import Reports
import Storage
import SuperResolution

extension UpscaleReport: DocumentedReport {
  package var document: ReportDocument {
    ReportDocument(
      title: "Upscaled: \(input)",
      summary: [
        .init("model", model), .init("images", .integer(images.count), kind: .integer),
      ]
        + (weightByteCount.map { [.init("weights in memory", .integer($0), kind: .bytes)] } ?? []),
      tables: [
        ReportTable(
          title: "Images",
          columns: [
            .init(key: "input", heading: "image", kind: .text),
            .init(key: "output", heading: "output", kind: .text),
            .init(key: "scale", heading: "scale", kind: .integer),
            .init(key: "width", heading: "width", kind: .integer),
            .init(key: "height", heading: "height", kind: .integer),
            .init(key: "tiles", heading: "tiles", kind: .text, isOptional: true),
            .init(key: "byteCount", heading: "memory", kind: .bytes, isOptional: true),
          ],
          rows: images.map {
            [
              .text($0.input), .text($0.output), .integer($0.scale), .integer($0.width),
              .integer($0.height), .text($0.tiles?.summary ?? ""), ReportCell($0.tiles?.byteCount),
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

extension TileChoice {
  /// What was chosen and why: `12 of 512 pixels, each with 32 more around it: the whole image would take
  /// 5.302 GiB, more than three quarters of the 3.110 GiB that the system has left`.
  var summary: String {
    func text(_ byteCount: Int?) -> String {
      byteCount.map(ReportNumber.bytes) ?? "an unknown size"
    }
    let share = "three quarters of the \(text(availableByteCount)) \(bound?.clause ?? "there are")"
    let tiles =
      size.map { "\(count) of \($0) pixels, each with \(overlap ?? 0) more around it" } ?? "none"
    return switch reason {
    case .given: "\(tiles), as given"
    case .fits: "none: the whole image takes at most \(text(byteCount)), less than \(share)"
    case .memory:
      "\(tiles): the whole image would take \(text(wholeByteCount)), more than \(share)"
    case .least:
      "\(tiles), the smallest: even these may take \(text(byteCount)), more than \(share)"
    case .unknown: "none: the memory is not known, or the network takes no tiles"
    }
  }
}
