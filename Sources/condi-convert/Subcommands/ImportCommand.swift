import ArgumentParser
import Formats
import FoundationEssentials
import Glibc
import Inspect
import Storage

extension ImportSource: ExpressibleByArgument {}

struct ImportCommand: DocumentedCommand {
  static let page = CommandPage(
    name: "import",
    abstract: "Pack an already quantized checkpoint of MLX, GPTQ, AWQ or compressed-tensors.",
    examples: [
      "condi-convert import mlx-model/model.safetensors model.condi --from mlx",
      "condi-convert import gptq-model model.condi --from gptq",
      "condi-convert import awq-model model.condi --from awq",
      "condi-convert import model.safetensors model.condi --from gptq \\\n"
        + "  --config quantize_config.json",
    ],
    essentials: ["--from", "--config", "--force"])

  @Argument(help: "A model file, or the folder of a checkpoint.", completion: .file())
  var input: String

  @Argument(help: "The packed file to write.", completion: .file())
  var output: String

  @Option(
    name: .customLong("from"),
    help: ArgumentHelp(
      "The program that quantized it.", valueName: "program"))
  var source: ImportSource

  @Option(
    help: ArgumentHelp("The configuration, where it lies elsewhere.", valueName: "file"),
    completion: .file())
  var config: String?

  @Flag(help: "Replace an existing output.")
  var force = false

  @OptionGroup(title: "Report") var report: ReportOptions
  @OptionGroup(title: "Running") var common: CommonOptions

  func run() throws {
    let archive = try ModelArgument.open(modelPath, stored: true, common: common)
    let configuration =
      try config.map { (path: $0, json: try ModelImport.configuration(at: $0)) }
      ?? ModelImport.configuration(beside: input, of: source)
    let model = try locatingErrors(path: input) {
      try ModelImport(archive, from: source, config: configuration.json)
    }
    let outcome = try locatingErrors(path: input) {
      try model.write(
        to: output, replacesExisting: force, runningTasks: common.workers().tasks)
    }
    try report.print(
      ExportReport(
        .import, format: source.rawValue, input: input,
        inputByteCount: try archive.sourceByteCount(), outcome: outcome), textLimit: 10)
  }

  /// The path of the model; a folder with one unsplit model means that file.
  private var modelPath: String {
    let model = "\(input)/model.safetensors"
    let index = "\(model).index.json"
    let manager = FileManager.default
    return manager.fileExists(atPath: model) && !manager.fileExists(atPath: index) ? model : input
  }
}
