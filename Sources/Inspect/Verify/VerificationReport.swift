import Formats
import Ranks
import Reports
import Storage

/// The results of verifying a packed file: its integrity, its size, and its fidelity to a
/// reference.
///
/// ```swift
/// let original = try FormatRegistry.standard.open("model.pth").selecting(root: "params")
/// let report = try VerificationReport(
///   file: "model.condi", PackedExamination(InputFile(path: "model.condi")),
///   reference: ("model.pth", original), threads: 4)
/// print(report.isPassed, report.verdict)
/// ```
public struct VerificationReport: Codable, Hashable, Sendable {
  package static let currentSchemaVersion = 2

  /// The version of the JSON form, `schemas/verification-report.schema.json`.
  public let schemaVersion: Int
  /// The path as the user gave it.
  public let file: String
  /// The result in one line.
  public let verdict: String
  /// Whether every byte is accounted for and matches its checksums.
  public let isWhole: Bool
  /// The file's faults in byte order; empty for an intact file.
  public let faults: [Fault]
  /// The sizes and ratios; `nil` if the header cannot be read.
  public let summary: PackedSummary?
  /// The comparison with a full-precision reference; `nil` if there is none or the file is damaged.
  package let fidelity: FidelityReport?
  /// The result of packing the reference again; `nil` unless requested.
  public let reproduction: Reproduction?
  /// Whether the file was made from a source; `nil` unless requested.
  public let derivation: DerivationReport?
  /// For each fault, whether the reference can repair it; `nil` unless requested.
  public let repairs: [Repair]?
  /// The results of the requested requirements.
  public let gates: [VerificationGate.Outcome]
  /// Whether the file is intact, not empty and true to its reference, and every requirement is met.
  public let isPassed: Bool

  /// A fault of the file and its location.
  public struct Fault: Codable, Hashable, Sendable {
    /// The region of the file.
    public let region: PackedRegion
    /// The tensor whose record is damaged; `nil` for other regions.
    public let tensor: String?
    /// The first byte in the file that may be wrong.
    public let offset: Int
    /// The number of bytes from `offset` that may be wrong.
    public let byteCount: Int
    /// The fault, in one line.
    public let message: String

    init(_ fault: PackedFault) {
      region = fault.region
      tensor = fault.tensor
      offset = fault.offset
      byteCount = fault.byteCount
      message = fault.message
    }
  }

  /// The result of packing the reference again by the header's recipe.
  public struct Reproduction: Codable, Hashable, Sendable {
    /// Whether packing again reproduces every byte of the file.
    public let isIdentical: Bool
    /// The parts that differ, in file order.
    public let deviations: [Deviation]

    /// A part of the file that differs from the newly packed one.
    public struct Deviation: Codable, Hashable, Sendable {
      /// The region of the file.
      public let region: PackedRegion
      /// The tensor whose record differs; `nil` for other regions.
      public let tensor: String?
      /// The part's first byte in the file.
      public let offset: Int
      /// The difference, in one line.
      public let message: String
    }

    /// Creates the result from `PackedReproduction.deviations(of:)` of the Transform library.
    package init(_ deviations: [PackedDeviation]) {
      isIdentical = deviations.isEmpty
      self.deviations = deviations.map {
        Deviation(region: $0.region, tensor: $0.tensor, offset: $0.offset, message: $0.message)
      }
    }
  }

  /// Whether a fault can be repaired with the result proved by checksums.
  public struct Repair: Codable, Hashable, Sendable {
    /// The region of the fault.
    public let region: PackedRegion
    /// The tensor whose record is damaged; `nil` for other regions.
    public let tensor: String?
    /// The fault's first byte in the file.
    public let offset: Int
    /// Whether the correct bytes are available.
    public let isRepairable: Bool
    /// The source of the bytes; `nil` if they are not available.
    package let method: PackedRestoration.Method?
    /// The reason the correct bytes are not available; `nil` if they are.
    public let obstacle: String?

    /// Creates the result from one part of a restoration.
    package init(_ part: PackedRestoration.Part) {
      region = part.fault.region
      tensor = part.fault.tensor
      offset = part.fault.offset
      isRepairable = part.method != nil
      method = part.method
      obstacle = part.obstacle
    }
  }

  /// Results of checks that need the packer, computed by the caller.
  public struct Findings: Sendable {
    /// The result of packing the reference again, for an intact file; `nil` if it was not
    /// attempted.
    public var reproduction: Reproduction?
    /// Whether an intact file was made from a source; `nil` if that was not checked.
    public var derivation: DerivationReport?
    /// The repairability of each fault; `nil` unless requested.
    public var repairs: [Repair]?

    public init(
      reproduction: Reproduction? = nil, derivation: DerivationReport? = nil,
      repairs: [Repair]? = nil
    ) {
      self.reproduction = reproduction
      self.derivation = derivation
      self.repairs = repairs
    }
  }

  /// Reports on `examination` and compares the packed file with `reference`.
  ///
  /// - Parameters:
  ///   - file: The packed file's path as the user gave it.
  ///   - reference: The full-precision tensors under the same names, and their file.
  ///   - gates: The requirements to check.
  ///   - progress: Called with the bytes of each completed tensor, from any thread.
  /// - Throws: `ModelError` if the reference cannot be read; faults of the packed file are part of
  ///   the report.
  public init(
    file: String, _ examination: PackedExamination,
    reference: (file: String, archive: TensorArchive)? = nil, findings: Findings = Findings(),
    gates: [VerificationGate] = [], threads: Int, progress: (@Sendable (Int) -> Void)? = nil
  ) throws {
    try self.init(
      file: file, examination, reference: reference, findings: findings, gates: gates,
      sharedAmong: Workers(threads: threads), progress: progress)
  }

  /// Creates the same report with the tensors shared among `workers`; every rank obtains the
  /// whole report.
  package init(
    file: String, _ examination: PackedExamination,
    reference: (file: String, archive: TensorArchive)? = nil, findings: Findings = Findings(),
    gates: [VerificationGate] = [], sharedAmong workers: Workers,
    progress: (@Sendable (Int) -> Void)? = nil
  ) throws {
    schemaVersion = Self.currentSchemaVersion
    self.file = file
    faults = examination.faults.map(Fault.init)
    isWhole = faults.isEmpty
    let model = examination.model
    summary = model.map(PackedSummary.init)
    // Damaged tensors cannot be compared; reporting the fault once is enough.
    let whole = examination.faults.isEmpty ? model : nil
    fidelity = try whole.flatMap { model in
      try reference.map {
        try FidelityReport(
          model: model, reference: $0.archive, file: $0.file, sharedAmong: workers,
          progress: progress)
      }
    }
    reproduction = findings.reproduction
    derivation = findings.derivation
    repairs = findings.repairs
    let worst =
      gates.contains { if case .conditionNumber = $0 { true } else { false } }
      ? try whole.flatMap { try WorstCondition(of: $0, sharedAmong: workers) } : nil
    self.gates = gates.map { [summary, fidelity] gate in
      gate.outcome(summary: summary, fidelity: fidelity, condition: worst)
    }
    let isEmpty = model?.header.names.isEmpty ?? false
    isPassed =
      isWhole && !isEmpty && (fidelity?.isTrue ?? true) && (reproduction?.isIdentical ?? true)
      && (derivation?.isDerived ?? true) && self.gates.allSatisfy(\.isMet)
    verdict = Self.verdict(
      faults: faults, isEmpty: isEmpty, fidelity: fidelity, findings: findings,
      gates: self.gates)
  }

  private static func verdict(
    faults: [Fault], isEmpty: Bool, fidelity: FidelityReport?, findings: Findings,
    gates: [VerificationGate.Outcome]
  ) -> String {
    if let fault = faults.first {
      let more = faults.count > 1 ? " and \(faults.count - 1) more" : ""
      return "FAILED: damaged: \(fault.place)\(more)"
    }
    var problems: [String] = []
    if isEmpty { problems.append("the file holds no tensor, so there is nothing to verify") }
    if let fidelity, !fidelity.isTrue { problems.append("not true to the reference") }
    if let reproduction = findings.reproduction, !reproduction.isIdentical {
      problems.append("packing the reference again gives a different file")
    }
    if let derivation = findings.derivation, !derivation.isDerived {
      problems.append("not what \(derivation.source) gives, or not what the statement says")
    }
    problems += gates.filter { !$0.isMet }.map { gate in
      "not met: \(gate.requirement)" + (gate.obstacle.map { " (\($0))" } ?? "")
    }
    return problems.isEmpty ? "passed" : "FAILED: \(problems.joined(separator: "; "))"
  }
}

extension VerificationReport.Fault {
  /// The location in a few words.
  var place: String { region.place(tensor: tensor, offset: offset) }
}

extension VerificationReport: DocumentedReport {
  package var document: ReportDocument {
    ReportDocument(
      title: "Verification: \(file)", summary: facts, tables: tables, notes: notes)
  }

  private var facts: [ReportDocument.Fact] {
    var facts: [ReportDocument.Fact] = [
      .init("verdict", verdict),
      .init("whole", isWhole ? "yes, every byte is accounted for" : "no"),
    ]
    if let summary {
      facts.append(.init("file size", .integer(summary.fileByteCount), kind: .bytes))
      facts += summary.facts
    }
    if let fidelity {
      facts += [
        .init("reference", fidelity.reference),
        .init("identical tensors", .integer(fidelity.identicalTensorCount), kind: .integer),
        .init(
          "tensors changed by the method", .integer(fidelity.adjustedTensors.count), kind: .integer),
        .init("SQNR of all weights, dB", .real(fidelity.signalToQuantizationNoise), kind: .real),
      ]
    }
    if let reproduction {
      facts.append(
        .init("packed again", reproduction.isIdentical ? "the same bytes" : "ANOTHER FILE"))
    }
    if let derivation { facts += derivation.facts }
    if let repairs {
      let count = repairs.count(where: \.isRepairable)
      facts.append(.init("repairable faults", "\(count) of \(repairs.count)"))
    }
    return facts
  }

  private var tables: [ReportTable] {
    var tables = [faultTable, Self.table(of: repairs ?? [])].withRows
    if let reproduction, !reproduction.isIdentical { tables.append(reproduction.table) }
    if let derivation { tables += derivation.tables }
    return tables + [fidelity?.layerTable, gateTable].compactMap(\.self).withRows
  }

  private var faultTable: ReportTable {
    ReportTable(
      title: "Faults",
      columns: [
        .init(key: "region", heading: "region", kind: .text),
        .init(key: "tensor", heading: "tensor", kind: .text),
        .init(key: "offset", heading: "at byte", kind: .integer),
        .init(key: "byteCount", heading: "bytes", kind: .integer),
        .init(key: "message", heading: "fault", kind: .text),
      ],
      rows: faults.map {
        [
          .text($0.region.rawValue), ReportCell($0.tensor), .integer($0.offset),
          .integer($0.byteCount), .text($0.message),
        ]
      })
  }

  private static func table(of repairs: [Repair]) -> ReportTable {
    ReportTable(
      title: "What the reference can restore",
      columns: [
        .init(key: "region", heading: "region", kind: .text),
        .init(key: "tensor", heading: "tensor", kind: .text),
        .init(key: "offset", heading: "at byte", kind: .integer),
        .init(key: "isRepairable", heading: "repairable", kind: .text),
        .init(key: "method", heading: "from", kind: .text),
        .init(key: "obstacle", heading: "why not", kind: .text),
      ],
      rows: repairs.map {
        [
          .text($0.region.rawValue), ReportCell($0.tensor), .integer($0.offset),
          .text($0.isRepairable ? "yes" : "NO"), ReportCell($0.method?.rawValue),
          ReportCell($0.obstacle),
        ]
      })
  }

  private var gateTable: ReportTable {
    ReportTable(
      title: "Requirements",
      columns: [
        .init(key: "requirement", heading: "requirement", kind: .text),
        .init(key: "found", heading: "found", kind: .real),
        .init(key: "layer", heading: "layer", kind: .text),
        .init(key: "isMet", heading: "met", kind: .text),
        .init(key: "obstacle", heading: "why it could not be measured", kind: .text),
      ],
      rows: gates.map {
        [
          .text($0.requirement), ReportCell($0.found), ReportCell($0.layer),
          .text($0.isMet ? "yes" : "NO"), ReportCell($0.obstacle),
        ]
      })
  }

  private var notes: [String] {
    guard let fidelity else { return [] }
    let lists = [
      ("to stay as in the reference, but different", fidelity.alteredTensors),
      ("with values more than a step from the reference's", fidelity.strayTensors),
      ("in the reference only", fidelity.missingTensors),
      ("in the packed file only", fidelity.extraTensors),
    ]
    return lists.compactMap { what, names in
      names.isEmpty
        ? nil : "\(counted(names.count, "tensor")) \(what): \(names.joined(separator: ", "))"
    }
  }
}

extension VerificationReport.Reproduction {
  fileprivate var table: ReportTable {
    ReportTable(
      title: "Where packing again differs",
      columns: [
        .init(key: "region", heading: "region", kind: .text),
        .init(key: "tensor", heading: "tensor", kind: .text),
        .init(key: "offset", heading: "at byte", kind: .integer),
        .init(key: "message", heading: "difference", kind: .text),
      ],
      rows: deviations.map {
        [
          .text($0.region.rawValue), ReportCell($0.tensor), .integer($0.offset),
          .text($0.message),
        ]
      })
  }
}

extension FidelityReport {
  fileprivate var layerTable: ReportTable {
    ReportTable(
      title: "Quantized layers",
      columns: [
        .init(key: "name", heading: "tensor", kind: .text),
        .init(key: "bitWidth", heading: "bits", kind: .integer),
        .init(key: "signalToQuantizationNoise", heading: "SQNR dB", kind: .real),
        .init(key: "maximumError", heading: "max error", kind: .real),
        .init(key: "maximumErrorInSteps", heading: "in steps", kind: .real),
        .init(key: "clippedShare", heading: "clipped", kind: .share),
      ],
      rows: layers.map {
        [
          .text($0.name), .integer($0.bitWidth), .real($0.signalToQuantizationNoise),
          .real($0.maximumError), .real($0.maximumErrorInSteps), .real($0.clippedShare),
        ]
      })
  }
}
