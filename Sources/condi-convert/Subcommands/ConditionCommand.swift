import ArgumentParser
import Formats
import Storage
import Transform

struct ConditionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "condition",
    abstract: "Lower the condition number of weight matrices, keeping what layers put out.",
    discussion: """
      An error in a layer's input grows by at most the weight's condition number, so a \
      well-conditioned model loses less when its activations are quantized (CondiQuant). The \
      weights that the recipe quantizes are changed by proximal gradient descent, those of a fused \
      query-key-value weight apart; everything else is kept bit for bit, and so is the format. \
      Tensors that belong together, such as weight-norm pairs, are written as the one that they stand for.

      With a calibration, weights change where inputs have no energy. Without it, the spectrum is \
      clipped where that moves the weights the least.

      Models may be larger than memory: conditioned weights wait on the output's disk, in a file that \
      is gone when the command ends.

      EXAMPLES
        condi-convert condition model.pth conditioned.pth --calibration stats.calib.npz
        condi-convert condition model.safetensors out.safetensors --target-condition 10
        condi-convert condition model.pth out.pth --penalty 1e-4 --format json
      """)

  @Argument(help: "A model file, or the folder of one.", completion: .file())
  var input: String

  @Argument(help: "The file to write; its extension chooses the format.", completion: .file())
  var output: String

  @OptionGroup var destination: OutputOptions
  @OptionGroup var constraint: ConstraintOptions

  @OptionGroup var calibration: CalibrationOptions

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

  @OptionGroup var report: ReportOptions
  @OptionGroup var common: CommonOptions

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
    let root = root ?? whole.conventionalRoot
    let weights = try locatingErrors(path: input) {
      try root.map { try whole.selecting(root: $0) } ?? whole
    }
    let constraint = constraint.value ?? .standard
    recipe.method = MethodSettings(
      .condiQuant, constraint: constraint, calibration: try calibration.applied(to: nil))
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
    try destination.write(result, as: format, to: output, activity: "writing", common: common)
    var conditioning = ConditionReport(
      input: input, output: output, root: root, calibration: calibration.name,
      constraint: constraint, matrices: matrices)
    conditioning.groups = weights.groups.nilIfEmpty
    try report.print(conditioning, textLimit: 20)
  }
}
