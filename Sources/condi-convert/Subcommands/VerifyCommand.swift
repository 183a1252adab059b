import ArgumentParser
import Formats
import Inspect

struct VerifyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Check that a packed file is whole, small, and true to its reference.",
    discussion: """
      Every byte is checked: checksums, padding, unused bits, parameters, places. With --reference, \
      full-precision tensors must have the reference's bits, and the signal-to-quantization-noise \
      ratio (SQNR) of every quantized layer is measured.

      Exit code 0: whole, and all that was asked for is met. 1: a requirement is not met, or a \
      tensor that was to stay differs from the reference. 2: the file is damaged or not a packed file.

      EXAMPLES
        condi-convert verify model.condi
        condi-convert verify model.condi --reference model.pth --min-ratio paper=3.3 --min-sqnr 5
        condi-convert verify model.condi --max-bytes 1100000 --format json
      """)

  @Argument(help: "A packed file.")
  var packed: String

  @Option(help: ArgumentHelp("The full-precision model it was made from.", valueName: "file"))
  var reference: String?

  @Option(
    help: ArgumentHelp(
      "The part of a nested reference to compare with; by default the part that was packed.",
      valueName: "name"))
  var root: String?

  @Option(
    help: ArgumentHelp(
      "A ratio that must be reached: paper, parameters, file or tensors; may be given several "
        + "times.", valueName: "name=value"))
  var minRatio: [RatioRequirement] = []

  @Option(help: ArgumentHelp("Every quantized layer's least SQNR in dB.", valueName: "db"))
  var minSqnr: Double?

  @Option(help: ArgumentHelp("The largest file allowed.", valueName: "bytes"))
  var maxBytes: Int?

  @OptionGroup var report: ReportOptions
  @OptionGroup var common: CommonOptions

  func validate() throws {
    if minSqnr != nil, reference == nil {
      throw ValidationError("--min-sqnr needs --reference")
    }
  }

  func run() throws {
    let input = try InputFile(path: packed, access: common.access)
    guard PackedFormat().recognizes(input) else {
      throw FormatError.unsupported("it is not a packed file", path: packed)
    }
    let model = try PackedModel(parsing: input)
    let archive = try reference.map {
      try ModelArgument.open($0, root: root ?? model.header.source?.root, common: common)
    }
    let bar = ProgressBar(
      "verifying", total: archive?.tensorByteCount ?? model.fileByteCount, isQuiet: common.quiet)
    let verification = try VerificationReport(
      file: packed, model: model,
      reference: archive.flatMap { archive in reference.map { ($0, archive) } }, gates: gates,
      threads: common.threads
    ) { bar.advance($0) }
    try report.print(verification, textLimit: 10)
    if let fault = verification.faults.first {
      throw FormatError.malformed(
        fault.message, path: packed, tensor: fault.tensor, offset: fault.offset)
    }
    if !verification.isPassed { throw Outcome.finding }
  }

  private var gates: [VerificationGate] {
    var gates = minRatio.map { VerificationGate.ratio($0.name, minimum: $0.minimum) }
    if let maxBytes { gates.append(.fileByteCount(maximum: maxBytes)) }
    if let minSqnr { gates.append(.signalToQuantizationNoise(minimum: minSqnr)) }
    return gates
  }
}

/// `paper=3.3` on the command line.
struct RatioRequirement: ExpressibleByArgument {
  let name: VerificationGate.RatioName
  let minimum: Double

  init?(argument: String) {
    let parts = argument.split(separator: "=", omittingEmptySubsequences: false)
    guard parts.count == 2, let name = VerificationGate.RatioName(rawValue: String(parts[0])),
      let minimum = Double(parts[1]), minimum.isFinite
    else { return nil }
    self.name = name
    self.minimum = minimum
  }
}
