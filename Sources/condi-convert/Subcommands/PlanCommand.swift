import ArgumentParser
import Formats
import FoundationEssentials
import Glibc
import Jobs
import Storage
import Transform

struct PlanCommand: DocumentedCommand {
  static let page = CommandPage(
    name: "plan",
    abstract: "Plan a conversion that several jobs do together.",
    examples: [
      "condi-convert plan checkpoint/ model.condi --bits 2",
      "condi-convert run model.condi.plan.json --job 1/2",
      "condi-convert run model.condi.plan.json --job 2/2",
      "condi-convert finish model.condi.plan.json",
    ],
    essentials: ["--bits", "--granularity", "--recipe", "--plan", "--force"])

  @Argument(help: "A model file of any known format, or the folder of one.")
  var input: String

  @Argument(help: "The file that the jobs are to write.")
  var output: String

  @Option(
    name: .customLong("plan"),
    help: ArgumentHelp("Where the plan is written (OUTPUT.plan.json).", valueName: "file"))
  var planPath: String?

  @OptionGroup(title: "Output") var destination: OutputOptions
  @OptionGroup(title: "Names and types") var edits: EditOptions
  @OptionGroup(title: "Packing") var quantization: QuantizationOptions
  @OptionGroup var method: MethodOptions

  @Option(help: ArgumentHelp("The part of a nested checkpoint to take.", valueName: "name"))
  var root: String?

  @OptionGroup(title: "Report") var report: ReportOptions
  @OptionGroup(title: "Running") var common: CommonOptions

  func validate() throws {
    guard !method.calibration.isGiven, method.target.targetSize == nil else {
      throw ValidationError(
        "jobs pack weight by weight: --calibration, --calibration-images and --target-size are for "
          + "'convert'")
    }
    guard destination.maxShardSize == nil else {
      throw ValidationError("jobs write one file, without --max-shard-size")
    }
    guard input != StandardInput.argument else {
      throw ValidationError("jobs cannot read standard input; name a file")
    }
  }

  func run() throws {
    let format = try destination.format(for: output)
    let conversion = try conversion(as: format)
    let path = planPath ?? "\(output).plan.json"
    let json = conversion.plan.json
    try locatingErrors(path: input) { try json.checkKeys() }
    try AtomicFileWriter.write(
      SharedBytes("\(json.serialized())\n".utf8), to: path, replacesExisting: destination.force)
    if !destination.force, FileManager.default.fileExists(atPath: output) {
      Console.note("\(output) exists: 'finish' replaces it only with --force", unless: common.quiet)
    }
    try report.print(ConversionPlanReport(conversion, plan: path), textLimit: 20)
  }

  private func conversion(as format: any ModelFormat) throws -> Conversion {
    guard format.identifier == PackedFormat.identifier else {
      try quantization.refuse(for: format)
      try method.refuse(for: format)
      let (archive, changes) = try edits.applied(
        to: ModelArgument.open(input, root: root, stored: true, common: common), path: input)
      return try Conversion(
        ConversionRequest(
          input: input, output: output, root: root, format: format.identifier.name, recipe: nil,
          edits: edits.value),
        copying: archive, root: root, changes: changes)
    }
    var recipe = try quantization.recipe()
    try method.apply(to: &recipe)
    let request = ConversionRequest(
      input: input, output: output, root: root, format: format.identifier.name, recipe: recipe,
      edits: try edits.value)
    let (weights, root) = try ModelArgument.openWeights(input, root: root, common: common)
    let (archive, changes) = try edits.applied(to: weights, path: input)
    guard archive.format != PackedFormat.identifier else {
      throw ModelError.unsupported("it is already packed; 'unpack' it first", path: input)
    }
    try locatingErrors(path: input) { try quantization.check(archive.tensors.keys) }
    let plan = try Compressor(
      weights: archive, recipe: recipe, name: input,
      source: PackedHeader.Source(
        archive, root: root, runningTasks: common.workers().tasks), threads: common.threads
    ).plan()
    guard let packer = plan.streamingPacker else {
      throw ValidationError("a recipe with a budget in bytes is for 'convert'")
    }
    return try Conversion(request, packing: archive, root: root, with: packer, changes: changes)
  }
}
