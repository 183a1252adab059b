import ArgumentParser
import Formats
import Storage
import Transform

struct ConditionCommand: DocumentedCommand {
  static let page = CommandPage(
    name: "condition",
    abstract: "Lower the condition number of weight matrices, keeping what layers put out.",
    examples: [
      "condi-convert condition model.pth out.pth --calibration stats.calib.npz",
      "condi-convert condition model.npz out.npz --target-condition 10",
      "condi-convert condition model.pth out.pth --penalty 1e-4 --format json",
    ],
    essentials: [
      "--target-condition", "--calibration", "--calibration-images", "--recipe", "--force",
    ],
    notes: """
      NOTES
        Without a calibration, spectra are clipped where that moves weights least.
      """)

  @Argument(help: "A model file, or the folder of one.", completion: .file())
  var input: String

  @Argument(help: "The file to write; its extension chooses the format.", completion: .file())
  var output: String

  @OptionGroup(title: "Output") var destination: OutputOptions
  @OptionGroup(title: "Names and types") var edits: EditOptions
  @OptionGroup(title: "Conditioning") var constraint: ConstraintOptions

  @OptionGroup(title: "Calibration") var calibration: CalibrationOptions

  @Option(
    name: .customLong("recipe"),
    help: ArgumentHelp(
      "Which weights: a recipe file, or one of: \(Recipe.builtInNames.joined(separator: ", ")).",
      valueName: "file|name"), completion: .file())
  var recipeName: String?

  @Option(help: ArgumentHelp("Descent steps at most.", valueName: "n"))
  var iterations: Int = 50

  @Option(
    help: ArgumentHelp("The part of a nested checkpoint to condition.", valueName: "name"))
  var root: String?

  @OptionGroup(title: "Report") var report: ReportOptions
  @OptionGroup(title: "Running") var common: CommonOptions

  func validate() throws {
    guard (1...100_000).contains(iterations) else {
      throw ValidationError("--iterations takes a number from 1 to 100000")
    }
  }

  func run() throws {
    let format = try destination.format(for: output)
    guard format.identifier != PackedFormat.identifier else {
      throw ValidationError("'\(output)' would be packed; 'convert --method condiquant' does both")
    }
    try destination.check(output)
    var recipe = try QuantizationOptions.recipe(recipeName ?? Recipe.builtInNames[0])
    let whole = try ModelArgument.open(input, common: common)
    // Before the work, for patterns that match nothing.
    _ = try edits.applied(to: whole, path: input)
    let root = root ?? whole.conventionalRoot
    let weights = try locatingErrors(path: input) {
      try root.map { try whole.selecting(root: $0) } ?? whole
    }
    let constraint = constraint.value ?? .standard
    recipe.method = MethodSettings(.condiQuant, calibration: try calibration.applied(to: nil))
    recipe.method.constraint = constraint
    var compressor = Compressor(
      weights: weights, recipe: recipe, name: input, source: nil, threads: common.threads,
      reporting: CompressionProgress(byteCount: weights.tensorByteCount, isQuiet: common.quiet).show
    )
    try compressor.calibrate(
      with: .init(
        statistics: calibration.file, images: calibration.images, access: common.access))
    let bar = ProgressBar("conditioning", total: weights.tensorByteCount, isQuiet: common.quiet)
    let (conditioned, matrices) = try ModelConditioner(
      weights, recipe: compressor.recipe, calibration: compressor.calibration,
      conditioner: Conditioner(constraint, iterationLimit: iterations)
    ).conditioned(
      threads: common.threads, keepingWeightsIn: OutputDestination.folder(of: output)
    ) { bar.advance($1) }
    var result = whole
    for (name, tensor) in conditioned.tensors {
      result.tensors[root.map { "\($0).\(name)" } ?? name] = tensor
    }
    let (edited, changes) = try edits.applied(to: result, path: input)
    try destination.write(edited, as: format, to: output, activity: "writing", common: common)
    var conditioning = ConditionReport(
      input: input, output: output, root: root, calibration: calibration.name,
      constraint: constraint, matrices: matrices)
    conditioning.groups = weights.groups.nilIfEmpty
    conditioning.edits = try changes.map { try EditReport($0) }
    try report.print(conditioning, textLimit: 20)
  }
}
