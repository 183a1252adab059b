import ArgumentParser
import Formats
import Transform

struct QuantizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "quantize",
    abstract: "Quantize and pack a model whose weights are conditioned already.",
    discussion: """
      As 'convert' to a .condi file, but weights are never conditioned: for the output of \
      'condition', or to see what conditioning is worth.

      EXAMPLES
        condi-convert quantize conditioned.pth model.condi --bits 2 --calibration stats.calib.npz
        condi-convert quantize model.pth model.condi --target-bpw 3 --dry-run
      """)

  @Argument(help: "A model file of any known format, or the folder of a sharded checkpoint.")
  var input: String

  @Argument(help: "The packed file to write.")
  var output: String

  @OptionGroup var destination: OutputOptions
  @OptionGroup(title: "Packing") var quantization: QuantizationOptions
  @OptionGroup(title: "Method") var method: MethodOptions

  @Flag(help: "Print the plan with bits and sizes, and write nothing.")
  var dryRun = false

  @Option(
    help: ArgumentHelp("The part of a nested checkpoint to take.", valueName: "name"))
  var root: String?

  @OptionGroup var report: ReportOptions
  @OptionGroup var common: CommonOptions

  func validate() throws {
    guard !method.constraint.isGiven else {
      throw ValidationError("'quantize' conditions no weights; 'condition' or 'convert' does")
    }
  }

  func run() throws {
    let format = try destination.format(for: output)
    guard format.identifier == PackedFormat.identifier else {
      throw ValidationError("'quantize' writes packed files; name the output '….condi' or say --to")
    }
    var recipe = try quantization.recipe()
    try method.apply(to: &recipe, conditions: false)
    try PackingJob(
      input: input, output: output, root: root, recipe: recipe, method: method,
      destination: destination, report: report, common: common
    ).run(isDryRun: dryRun)
  }
}
