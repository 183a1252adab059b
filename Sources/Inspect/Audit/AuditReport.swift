import Formats
import Reports
import Storage

/// An audit of the code that loading a file would execute.
///
/// ```swift
/// let report = try AuditReport(auditing: "download.pkl")
/// print(report.counts.dangerous, report.counts.unknown, report.problems.count)
/// for finding in report.pickles.flatMap(\.findings) {
///   print(finding.name ?? finding.opcode, "at byte \(finding.offset)")
/// }
/// ```
public struct AuditReport: Codable, Hashable, Sendable {
  package static let currentSchemaVersion = 1

  /// The version of the JSON form, `schemas/audit-report.schema.json`.
  public let schemaVersion: Int
  /// The path as the user gave it.
  public let file: String
  /// The file's length.
  public let fileByteCount: Int
  /// The overall verdict on the findings and problems.
  package let verdict: FileAudit.Verdict
  /// The number of findings by verdict.
  public let counts: Counts
  /// Every pickle found, regardless of its name, in file order.
  public let pickles: [Pickle]
  /// Other things that a program would run or load, in file order.
  public let programs: [Program]
  /// The parts that could not be read. A file with a problem is never clean.
  public let problems: [Problem]
  /// Additional remarks for the user, each a sentence without final punctuation.
  public let notes: [String]

  /// The number of findings by verdict, both actions of pickles and programs.
  public struct Counts: Codable, Hashable, Sendable {
    /// Those that build tensors and plain values and are known to do nothing else.
    public let allowed: Int
    /// Those on no list, which may do anything.
    public let unknown: Int
    /// Those known to run code, open files or access the network.
    public let dangerous: Int
  }

  /// One pickle of the file.
  public struct Pickle: Codable, Hashable, Sendable {
    /// The location inside the file, outermost first; empty for the file itself.
    public let place: String
    /// The reason it could not be followed to its end.
    public let problem: String?
    /// The actions it would make Python perform, in opcode order.
    public let findings: [Finding]
  }

  /// An action that loading would make Python perform.
  public struct Finding: Codable, Hashable, Sendable {
    /// The action.
    public let kind: Kind
    /// The dotted name of the class or function; `nil` if it is computed.
    public let name: String?
    /// The beginning of a call's arguments, or a persistent identifier.
    public let argument: String?
    /// The opcode as named by `pickletools`.
    public let opcode: String
    /// The offset in the file, or in the pickle's location if that is compressed or inside another
    /// pickle.
    public let offset: Int
    /// The verdict on the action.
    package let verdict: PickleVerdict
    /// The known behaviour of the class or function.
    public let knownFor: String?

    /// An action of a pickle's opcode; `PickleEvent.Kind` explains each.
    public enum Kind: String, Codable, CaseIterable, Sendable {
      case global
      case computedGlobal = "computed-global"
      case extensionCode = "extension-code"
      case call
      case state
      case persistentIdentifier = "persistent-identifier"
    }
  }

  /// Something other than a pickle that a program runs or loads because the file contains it.
  public struct Program: Codable, Hashable, Sendable {
    /// The location inside the file, outermost first; empty for the file itself.
    public let place: String
    /// The kind of program.
    package let kind: FileAudit.Program.Kind
    /// The class, template, operator or file; `nil` if the location identifies it.
    public let name: String?
    /// Whether the program is known to be harmful or unknown.
    package let verdict: PickleVerdict
    /// The program's behaviour.
    public let knownFor: String
  }

  /// A part that could not be read.
  public struct Problem: Codable, Hashable, Sendable {
    /// The location inside the file, outermost first; empty for the file itself.
    public let place: String
    /// The problem, in one line.
    public let message: String
    /// The byte offset in that location; `nil` if no byte is at fault.
    public let offset: Int?
  }

  /// Audits the file at `path` without executing anything.
  ///
  /// - Throws: `ModelError` if the file cannot be opened; problems inside it are part of the
  ///   report.
  public init(auditing path: String, access: InputFile.Access = .mapped) throws {
    if let refusal = ModelFolder.refusal(of: path) { throw refusal }
    let file = try InputFile(path: path, access: access)
    self.init(FileAudit(of: file), file: path, fileByteCount: file.byteCount)
  }

  init(_ audit: FileAudit, file: String, fileByteCount: Int) {
    schemaVersion = Self.currentSchemaVersion
    self.file = file
    self.fileByteCount = fileByteCount
    verdict = audit.verdict
    pickles = audit.pickles.map { pickle in
      Pickle(
        place: pickle.place, problem: pickle.problem, findings: pickle.events.map(Finding.init))
    }
    programs = audit.programs.map {
      Program(
        place: $0.place, kind: $0.kind, name: $0.name, verdict: $0.verdict, knownFor: $0.knownFor)
    }
    problems = audit.problems.map {
      Problem(place: $0.place, message: $0.message, offset: $0.offset)
    }
    notes = audit.notes
    var found: [PickleVerdict: Int] = [:]
    for pickle in pickles {
      for finding in pickle.findings { found[finding.verdict, default: 0] += 1 }
    }
    for program in programs { found[program.verdict, default: 0] += 1 }
    counts = Counts(
      allowed: found[.allowed] ?? 0, unknown: found[.unknown] ?? 0,
      dangerous: found[.dangerous] ?? 0)
  }
}

extension AuditReport.Finding {
  fileprivate init(_ event: PickleEvent) {
    let parts: (Kind, String?, String?) =
      switch event.kind {
      case .global(let name): (.global, name, nil)
      case .computedGlobal: (.computedGlobal, nil, nil)
      case .extensionCode(let code): (.extensionCode, nil, "\(code)")
      case .call(let callee, let argument): (.call, callee, argument)
      case .state(let callee, _): (.state, callee, nil)
      case .persistentIdentifier(let identifier): (.persistentIdentifier, nil, identifier)
      }
    self.init(
      kind: parts.0, name: parts.1, argument: parts.2, opcode: event.opcode, offset: event.offset,
      verdict: event.verdict, knownFor: event.knownFor)
  }
}

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

  private var tables: [ReportTable] { [findingTable] + [problemTable].withRows }

  /// The findings sorted by severity, then in file order.
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
