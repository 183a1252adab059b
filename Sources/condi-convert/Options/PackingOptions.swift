import ArgumentParser
import Formats
import Jobs
import Storage
import Transform

/// Options that 'convert' and 'quantize' share for packing a model file.
struct PackingOptions: ParsableArguments {
  @OptionGroup(title: "Output") var destination: OutputOptions
  @OptionGroup(title: "Names and types") var edits: EditOptions
  @OptionGroup(title: "Packing") var quantization: QuantizationOptions
  @OptionGroup var method: MethodOptions

  @Option(
    help: ArgumentHelp(
      "Also write an in-toto Statement with the digests of the output, its source and its recipe; "
        + "'verify --derived-from' checks it.", valueName: "file"), completion: .file())
  var statement: String?

  @Flag(help: "Print the plan with bits and sizes, and write nothing.")
  var dryRun = false

  @Option(
    help: ArgumentHelp("The part of a nested checkpoint to take.", valueName: "name"))
  var root: String?

  @OptionGroup(title: "Large models") var streaming: StreamingOptions
  @OptionGroup(title: "Report") var report: ReportOptions
  @OptionGroup(title: "Running") var common: CommonOptions

  /// Quantizes and packs; with `--dry-run`, prints the plan and writes nothing.
  ///
  /// - Parameter conditions: whether a method may condition weights.
  func pack(_ input: String, to output: String, conditions: Bool = true) throws {
    if let statement, !dryRun {
      try OutputDestination.check(statement, replacesExisting: destination.force)
    }
    var recipe = try quantization.recipe()
    try method.apply(to: &recipe, conditions: conditions)
    let request = ConversionRequest(
      input: input, output: output, root: root, format: PackedFormat.identifier.name,
      recipe: recipe, edits: try edits.value)
    if !dryRun, !method.calibration.isGiven,
      let outcome = try streaming.continued(request, destination: destination, common: common)
    {
      return try print(outcome, input: input, output: output)
    }
    if !dryRun { try destination.check(output) }
    let (weights, root) = try ModelArgument.openWeights(input, root: root, common: common)
    let (archive, changes) = try edits.applied(to: weights, path: input)
    try locatingErrors(path: input) { try archive.requireReadableTensors() }
    guard archive.format != PackedFormat.identifier else {
      throw ModelError.unsupported("it is already packed; 'unpack' it first", path: input)
    }
    try locatingErrors(path: input) { try quantization.check(archive.tensors.keys) }
    let progress = CompressionProgress(byteCount: archive.tensorByteCount, isQuiet: common.quiet)
    var compressor = Compressor(
      weights: archive, recipe: recipe, name: input,
      source: try PackedHeader.Source(
        archive, root: root, runningTasks: common.workers().tasks),
      threads: common.threads, reporting: progress.show)
    try compressor.calibrate(with: method.material(common))
    let plan = try compressor.plan()
    guard !dryRun else {
      var planned = PlanReport(input: input, root: root, plan: plan.plan, choices: plan.choices)
      planned.unread = archive.unread.nilIfEmpty
      planned.groups = archive.groups.nilIfEmpty
      planned.edits = try changes.map { try EditReport($0) }
      return try report.print(planned, textLimit: 20)
    }
    noteWhatIsMissing(compressor.calibration, for: compressor.recipe)
    let shared = try streaming.conversion(of: archive, input: input, common: common) {
      try plan.streamingPacker.map {
        try Conversion(request, packing: archive, root: root, with: $0, changes: changes)
      }
    }
    if let shared {
      let outcome = try streaming.run(
        shared, of: archive, destination: destination, common: common)
      return try print(outcome, of: archive, input: input, output: output)
    }
    let written = try locatingErrors(path: input) {
      try plan.write(to: output, replacesExisting: destination.force) {
        progress.show(.packing(tensor: $0, byteCount: $1))
      }
    }
    try print(.packed(written, changes), of: archive, input: input, output: output)
  }

  private func print(
    _ outcome: ConversionOutcome, of archive: TensorArchive? = nil, input: String, output: String
  ) throws {
    guard case .packed(let outcome, let changes) = outcome else { return }
    if let statement {
      try DerivationStatement(
        of: PackedModel(parsing: InputFile(path: output)), named: output.lastPathComponent
      ).write(to: statement, replacesExisting: destination.force)
    }
    let packing = try PackingReport(
      outcome, changes: changes, input: input, output: output,
      calibration: method.calibration.name)
    try report.print(archive.map(packing.describing) ?? packing, textLimit: 10)
  }

  private func noteWhatIsMissing(_ calibration: Calibration?, for recipe: Recipe) {
    let settings = recipe.method
    guard settings.method != .nearest else { return }
    func note(_ text: String) { Console.note(text, unless: common.quiet) }
    guard let calibration else {
      return note("no calibration: weights only, inputs assumed to be white (H = I)")
    }
    guard !settings.isWeightsOnly else { return note("activations stay in full precision") }
    let rowless = settings.scaling == .tensor ? 0 : calibration.sitesWithoutRows.count
    if rowless > 0 {
      note("no rows were recorded at \(rowless) sites: their bounds are the same for all rows")
    }
    let otherwise = calibration.sitesWithoutRows(for: settings.scaling).count - rowless
    if settings.scaling != .tensor, otherwise > 0 {
      note(
        "\(otherwise) sites were recorded for bounds other than \(settings.scaling.rawValue), and "
          + "keep those")
    }
    let others = calibration.sitesMeasured(otherThan: settings.scaling).count
    if settings.method.isErrorAware, others > 0 {
      note(
        "quantized inputs were recorded with bounds of another scaling at \(others) "
          + "sites, so their moments are estimated instead")
    }
  }
}
