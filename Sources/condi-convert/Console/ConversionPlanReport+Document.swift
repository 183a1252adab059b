import Jobs
import Reports

extension ConversionPlanReport: DocumentedReport {
  package var document: ReportDocument {
    var facts: [ReportDocument.Fact] = [
      .init("model", input),
      .init("output", output),
      .init("tensors", .integer(recordCount), kind: .integer),
      .init("bytes to read", .integer(sourceByteCount), kind: .bytes),
      .init("bytes to write", .integer(recordsByteCount), kind: .bytes),
    ]
    if let largestTensor {
      facts += [
        .init("largest tensor", largestTensor),
        .init("its size", .integer(largestTensorByteCount), kind: .bytes),
      ]
    }
    return ReportDocument(
      title: "Planned: \(plan)", summary: facts,
      tables: [
        ReportTable(
          title: "How evenly jobs share the work",
          columns: [
            .init(key: "jobCount", heading: "jobs", kind: .integer),
            .init(key: "largestShareByteCount", heading: "largest share", kind: .bytes),
            .init(key: "imbalance", heading: "of the mean", kind: .real),
          ],
          rows: divisions.map {
            [.integer($0.jobCount), .integer($0.largestShareByteCount), .real($0.imbalance)]
          })
      ])
  }
}
