import ArgumentParser
import Formats
import Inspect
import LinearAlgebra
import Storage
import Transform

struct VerifyCommand: SharedCommand, DocumentedCommand {
  static let page = CommandPage(
    name: "verify",
    abstract: "Check that a packed file is whole, small, and true to its reference.",
    examples: [
      "condi-convert verify model.condi",
      "condi-convert verify model.condi --reference model.pth --min-ratio paper=3.3",
      "condi-convert verify model.condi --reference model.pth --reproduce",
      "condi-convert verify model.condi --derived-from model.pth --sample all",
      "condi-convert verify model.condi --max-bytes 1.1MB --max-condition 1e4",
      "condi-convert verify damaged.condi --reference model.pth --repairable",
    ],
    essentials: [
      "--reference", "--min-ratio", "--min-sqnr", "--derived-from", "--reproduce", "--format",
    ],
    notes: """
      EXIT CODES
        0 whole, and all that was asked for is met, 1 a requirement is not met, or the
        file is not what the reference gives, 2 it is damaged or not a packed file
      """)

  @Argument(help: "A packed file.", completion: .file())
  var packed: String

  @Option(
    help: ArgumentHelp("The full-precision model it was made from.", valueName: "file"),
    completion: .file())
  var reference: String?

  @Option(
    help: ArgumentHelp(
      "The part of a nested reference to compare with; by default the part that was packed.",
      valueName: "name"))
  var root: String?

  @Flag(help: "Pack the reference again by the file's own recipe; the bytes must be the same.")
  var reproduce = false

  @Option(
    help: ArgumentHelp(
      "Check that the file was made from exactly this model.", valueName: "file"),
    completion: .file())
  var derivedFrom: String?

  @Option(
    help: ArgumentHelp(
      "Records that --derived-from makes again (\(Self.standardSample)): a number, or all.",
      valueName: "n|all"))
  var sample: SampleCountArgument?

  @Option(
    help: ArgumentHelp(
      "What the records of the sample are drawn by; drawn at random by default.", valueName: "n"))
  var seed: Int?

  @Option(
    help: ArgumentHelp(
      "A statement (in-toto) about the file, for --derived-from to check.", valueName: "file"),
    completion: .file())
  var statement: String?

  @Option(
    help: ArgumentHelp(
      "Where to write a statement (in-toto) about the file once --derived-from has passed.",
      valueName: "file"), completion: .file())
  var writeStatement: String?

  @OptionGroup(title: "For --reproduce, --derived-from and --repairable")
  var material: ReproductionOptions

  @Flag(help: "Say of a damaged file what 'repair' can restore from the reference.")
  var repairable = false

  @Option(
    help: ArgumentHelp(
      "A ratio that must be reached: paper (which need not be named), parameters, file or tensors; "
        + "may be given several times.", valueName: "name=value"))
  var minRatio: [RatioRequirement] = []

  @Option(help: ArgumentHelp("Every quantized layer's least SQNR in dB.", valueName: "db"))
  var minSqnr: Double?

  @Option(
    help: ArgumentHelp("The largest file allowed: \(SizeArgument.help).", valueName: "size"))
  var maxBytes: SizeArgument?

  @Option(
    help: ArgumentHelp(
      "The largest condition number of a weight matrix, as dequantized.", valueName: "κ"))
  var maxCondition: Double?

  @OptionGroup(title: "Report") var report: ReportOptions
  @OptionGroup(title: "Running") var common: CommonOptions

  func validate() throws {
    if reference == nil {
      if minSqnr != nil { throw ValidationError("--min-sqnr needs --reference") }
      if reproduce { throw ValidationError("--reproduce needs --reference") }
      if repairable { throw ValidationError("--repairable needs --reference") }
    }
    guard reproduce || repairable || derivedFrom != nil || !material.isGiven else {
      throw ValidationError(
        "--calibration, --calibration-images and --validation need --reproduce, --derived-from or "
          + "--repairable")
    }
    guard derivedFrom != nil || (sample == nil && seed == nil && statement ?? writeStatement == nil)
    else {
      throw ValidationError(
        "--sample, --seed, --statement and --write-statement need --derived-from")
    }
    if let seed, seed < 0 { throw ValidationError("--seed takes a number of at least 0") }
    if let maxCondition, !(maxCondition >= 1 && maxCondition.isFinite) {
      throw ValidationError("--max-condition takes a number of at least 1")
    }
    if let minSqnr, !minSqnr.isFinite { throw ValidationError("--min-sqnr takes a number of dB") }
  }

  func run() throws {
    let ranks = SharedWork.ranks(reading: [packed, reference], common: common)
    let examination = try SharedWork.share(
      among: ranks,
      preparing: { try PackedArgument.open(packed, common: common) },
      { try PackedArgument.examine($0, path: packed, ranks: ranks, common: common) })
    let verification = try SharedWork.share(
      among: ranks,
      preparing: { try findings(of: examination) },
      { archive, findings in
        let bar = ProgressBar(
          "verifying", total: archive?.tensorByteCount ?? 0, isQuiet: common.quiet)
        return try VerificationReport(
          file: packed, examination,
          reference: archive.flatMap { archive in reference.map { ($0, archive) } },
          findings: findings, gates: gates, sharedAmong: common.workers(of: ranks)
        ) { bar.advance($0) }
      })
    guard ranks.isRoot else { return }
    try report.print(verification, textLimit: 10)
    if let fault = verification.faults.first {
      throw ModelError(
        .malformed(fault.message), path: packed, tensor: fault.tensor,
        entry: fault.region.rawValue, offset: fault.offset
      ).offering(.source)
    }
    if !verification.isPassed { throw Outcome.finding }
    if let writeStatement, let model = examination.model {
      try DerivationStatement(of: model, named: packed.lastPathComponent).write(
        to: writeStatement, replacesExisting: false)
      Console.note("wrote \(writeStatement)", unless: common.quiet)
    }
  }

  /// Returns the reference and the findings, which only rank 0 computes.
  private func findings(of examination: PackedExamination) throws -> (
    archive: TensorArchive?, findings: VerificationReport.Findings
  ) {
    let archive = try reference.map { try open($0, for: examination) }
    guard SharedWork.ranks.isRoot else { return (archive, .init()) }
    var findings = try archive.map { try self.findings(examination, $0) } ?? .init()
    if let derivedFrom, examination.faults.isEmpty, let model = examination.model {
      findings.derivation = try derivation(of: model, from: derivedFrom, examination)
    }
    return (archive, findings)
  }

  private func open(_ path: String, for examination: PackedExamination) throws -> TensorArchive {
    let header = examination.model?.header
    return try ModelArgument.openReference(
      path, root: root, sourceRoot: header?.source?.root, edits: header?.source?.edits,
      header: header, common: common)
  }

  /// The records that are made again by default.
  private static let standardSample = 16

  private func derivation(
    of model: PackedModel, from source: String, _ examination: PackedExamination
  ) throws -> DerivationReport {
    let claimed = try statement.map { path in
      (
        path: path,
        statement: try DerivationStatement(
          contentsOf: InputFile(path: StandardInput.path(path), access: .read))
      )
    }
    let archive = try open(source, for: examination)
    return try locatingErrors(path: packed) {
      try DerivationReport(
        of: model, from: source, archive, by: reproduction(of: model.header, archive, name: source),
        sample: sample?.sample ?? .count(Self.standardSample),
        seed: seed ?? Int(UInt32.random(in: 0 ... .max)), statement: claimed,
        workers: common.workers())
    }
  }

  private func findings(_ examination: PackedExamination, _ archive: TensorArchive) throws
    -> VerificationReport.Findings
  {
    var findings = VerificationReport.Findings()
    if repairable {
      findings.repairs = try PackedArgument.restoration(
        examination, archive, calibratedWith: material.material(common), name: reference ?? packed,
        common: common
      ).parts.map(VerificationReport.Repair.init)
    }
    guard reproduce, examination.faults.isEmpty, let model = examination.model else {
      return findings
    }
    findings.reproduction = .init(
      try locatingErrors(path: packed) {
        try reproduction(of: model.header, archive, name: reference ?? packed)
          .deviations(of: model)
      })
    return findings
  }

  private func reproduction(
    of header: PackedHeader, _ archive: TensorArchive, name: String
  ) -> PackedReproduction {
    PackedArgument.reproduction(
      of: header, from: archive, calibratedWith: material.material(common), name: name,
      common: common)
  }

  private var gates: [VerificationGate] {
    var gates = minRatio.map { VerificationGate.ratio($0.name, minimum: $0.minimum) }
    if let maxBytes { gates.append(.fileByteCount(maximum: maxBytes.byteCount)) }
    if let minSqnr { gates.append(.signalToQuantizationNoise(minimum: minSqnr)) }
    if let maxCondition { gates.append(.conditionNumber(maximum: maxCondition)) }
    return gates
  }
}

/// A number of records on the command line, or `all`.
struct SampleCountArgument: ExpressibleByArgument {
  let sample: DerivationReport.Sample

  init?(argument: String) {
    if argument == "all" {
      sample = .all
    } else if let count = Int(argument), count > 0 {
      sample = .count(count)
    } else {
      return nil
    }
  }
}

/// A command-line argument such as `paper=3.3`.
struct RatioRequirement: ExpressibleByArgument {
  let name: VerificationGate.RatioName
  let minimum: Double

  init?(argument: String) {
    let parts = argument.split(separator: "=", omittingEmptySubsequences: false)
    let given = parts.count == 1 ? VerificationGate.RatioName.paper.rawValue : String(parts[0])
    guard parts.count <= 2, let name = VerificationGate.RatioName(rawValue: given),
      let minimum = parts.last.flatMap({ Double($0) }), minimum.isFinite
    else { return nil }
    self.name = name
    self.minimum = minimum
  }
}
