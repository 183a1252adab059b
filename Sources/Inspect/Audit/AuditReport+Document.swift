import Formats

extension AuditReport: DocumentedReport {
  package var document: ReportDocument {
    ReportDocument(title: "Audit: \(file)", summary: facts, tables: tables, notes: notes)
  }

  private var facts: [ReportDocument.Fact] {
    [
      .init("verdict", verdictSentence),
      .init("file size", .integer(fileByteCount), kind: .bytes),
      .init("pickles", .integer(pickles.count), kind: .integer),
      .init("dangerous", .integer(counts.dangerous), kind: .integer),
      .init("unknown", .integer(counts.unknown), kind: .integer),
      .init("allowed", .integer(counts.allowed), kind: .integer),
    ]
  }

  private var verdictSentence: String {
    switch verdict {
    case .clean: "clean: read whole, and nothing but data found"
    case .suspicious where counts.dangerous > 0: "SUSPICIOUS: loading it would run code"
    case .suspicious where !programs.isEmpty:
      "SUSPICIOUS: it holds or names programs of which nothing is known"
    case .suspicious: "SUSPICIOUS: it names classes or functions of which nothing is known"
    case .unreadable: "UNREADABLE: not everything could be read, so nothing is vouched for"
    }
  }

  private var tables: [ReportTable] {
    var tables = [findingTable]
    if !problems.isEmpty { tables.append(problemTable) }
    return tables
  }

  /// The worst first; within a verdict in the order of the file.
  private var findingTable: ReportTable {
    let all = pickles.flatMap { pickle in pickle.findings.map { (pickle.place, $0) } }
    let rows = [PickleVerdict.dangerous, .unknown, .allowed].flatMap { verdict in
      programs.filter { $0.verdict == verdict }.map(Self.row)
        + all.filter { $0.1.verdict == verdict }.map(Self.row)
    }
    return ReportTable(
      title: "What loading it would do",
      columns: [
        .init(key: "verdict", heading: "verdict", kind: .text),
        .init(key: "kind", heading: "what", kind: .text),
        .init(key: "name", heading: "class or function", kind: .text),
        .init(key: "offset", heading: "at byte", kind: .integer),
        .init(key: "opcode", heading: "opcode", kind: .text, isOptional: true),
        .init(key: "place", heading: "in", kind: .text, isOptional: true),
        .init(key: "argument", heading: "arguments", kind: .text),
        .init(key: "knownFor", heading: "known for", kind: .text),
      ], rows: rows)
  }

  private static func row(place: String, finding: Finding) -> [ReportCell] {
    [
      .text(finding.verdict.rawValue), .text(finding.kind.rawValue), ReportCell(finding.name),
      .integer(finding.offset), .text(finding.opcode), .text(place.isEmpty ? "the file" : place),
      ReportCell(finding.argument), ReportCell(finding.knownFor),
    ]
  }

  private static func row(program: Program) -> [ReportCell] {
    [
      .text(program.verdict.rawValue), .text(program.kind.rawValue), ReportCell(program.name),
      .empty, .empty, .text(program.place.isEmpty ? "the file" : program.place), .empty,
      .text(program.knownFor),
    ]
  }

  private var problemTable: ReportTable {
    ReportTable(
      title: "What could not be read",
      columns: [
        .init(key: "place", heading: "in", kind: .text),
        .init(key: "offset", heading: "at byte", kind: .integer),
        .init(key: "message", heading: "problem", kind: .text),
      ],
      rows: problems.map {
        [.text($0.place.isEmpty ? "the file" : $0.place), ReportCell($0.offset), .text($0.message)]
      })
  }
}
