import ArgumentParser
import Formats
import Jobs
import Storage
import Transform

/// What 'convert' and 'quantize' have in common: from a model file to a packed one.
struct PackingOptions: ParsableArguments {
  @OptionGroup var destination: OutputOptions
  @OptionGroup(title: "Packing") var quantization: QuantizationOptions
  @OptionGroup(title: "Method") var method: MethodOptions

  @Flag(help: "Print the plan with bits and sizes, and write nothing.")
  var dryRun = false

  @Option(
    help: ArgumentHelp("The part of a nested checkpoint to take.", valueName: "name"))
  var root: String?

  @OptionGroup(title: "Large models") var streaming: StreamingOptions
  @OptionGroup var report: ReportOptions
  @OptionGroup var common: CommonOptions

  /// Quantizes and packs, or with `--dry-run` prints the plan and writes nothing.
  ///
  /// - Parameter conditions: whether a method may condition weights.
  func pack(_ input: String, to output: String, conditions: Bool = true) throws {
    var recipe = try quantization.recipe()
    try method.apply(to: &recipe, conditions: conditions)
    let request = ConversionRequest(
      input: input, output: output, root: root, format: PackedFormat.identifier.name,
      recipe: recipe)
    if !dryRun, !method.calibration.isGiven,
      let outcome = try streaming.continued(request, destination: destination, common: common)
    {
      return try report.print(PackingReport(outcome, input: input, output: output), textLimit: 10)
    }
    if !dryRun { try destination.check(output) }
    let (archive, root) = try ModelArgument.openWeights(input, root: root, common: common)
    try locatingErrors(path: input) { try archive.requireReadableTensors() }
    guard archive.format != PackedFormat.identifier else {
      throw ModelError.unsupported("it is packed already; 'unpack' it first", path: input)
    }
    let source = try PackedHeader.Source(
      archive, root: root, runningTasks: PackedArgument.tasks(common))
    let material = try MethodMaterial(
      method.places, for: &recipe, archive: archive, path: input, common: common)
    let pipeline = try QuantizationPipeline(
      archive, recipe: recipe, calibration: material.calibration,
      equalization: material.equalization, source: source, threads: common.threads)
    guard !dryRun else {
      var plan = PlanReport(
        input: input, root: root, plan: pipeline.plan, choices: pipeline.choices)
      plan.unread = archive.unread.nilIfEmpty
      plan.groups = archive.groups.nilIfEmpty
      return try report.print(plan, textLimit: 20)
    }
    noteWhatIsMissing(material.calibration, for: recipe)
    if let conversion = try streaming.conversion(
      of: archive, input: input, common: common,
      planning: {
        try pipeline.streamingPacker.map {
          try Conversion(request, packing: archive, root: root, with: $0)
        }
      })
    {
      let outcome = try streaming.run(
        conversion, of: archive, destination: destination, common: common)
      return try report.print(
        PackingReport(outcome, input: input, output: output).describing(archive), textLimit: 10)
    }
    let bar = ProgressBar("packing", total: archive.tensorByteCount, isQuiet: common.quiet)
    let outcome = try locatingErrors(path: input) {
      try pipeline.write(
        to: output, replacesExisting: destination.force, refiner: material.refiner
      ) { bar.advance($1) }
    }
    let packing = try PackingReport(
      input: input, output: output, source: source, plan: pipeline.plan,
      header: PackedModel(parsing: InputFile(path: output)).header,
      calibration: method.calibration.name, distillation: outcome.distillation,
      activationCount: outcome.activationCount, summary: outcome.summary, layers: outcome.layers)
    try report.print(packing.describing(archive), textLimit: 10)
  }

  private func noteWhatIsMissing(_ calibration: Calibration?, for recipe: Recipe) {
    guard let settings = recipe.method else { return }
    func note(_ text: String) { Console.note(text, unless: common.quiet) }
    guard let calibration else {
      return note("no calibration: weights only, inputs taken to be white (H = I)")
    }
    guard !settings.isWeightsOnly else { return note("activations stay in full precision") }
    let rowless = settings.scaling == .tensor ? 0 : calibration.sitesWithoutRows.count
    if rowless > 0 {
      note("no rows were recorded at \(rowless) sites: their bounds are the same for all rows")
    }
    let otherwise = calibration.sitesWithoutRows(for: settings.scaling).count - rowless
    if settings.scaling != .tensor, otherwise > 0 {
      note(
        "\(otherwise) sites were recorded for other bounds than \(settings.scaling.rawValue), and have "
          + "those")
    }
    let others = calibration.sitesMeasured(otherThan: settings.scaling).count
    if settings.method.isErrorAware, others > 0 {
      note(
        "what quantized inputs are like was recorded with bounds of another scaling at \(others) "
          + "sites, and is estimated instead")
    }
  }
}
