import ArgumentParser
import Formats
import FoundationEssentials
import Glibc
import Inspect
import Storage

extension ImportSource: ExpressibleByArgument {}

struct ImportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "import",
    abstract:
      "Pack a checkpoint that MLX, GPTQ, AWQ or compressed-tensors quantized, keeping its codes.",
    discussion: """
      Codes are taken as they are; lower bounds and scales are computed from the checkpoint's, and \
      every tensor is compared with what the checkpoint's own arithmetic gives: 'exact', or 'lossy' \
      with the largest error. Everything else keeps its bits.

      GPTQ's zero points are read as 'checkpoint_format' says, or as the zero points of symmetric codes \
      prove; what was assumed is said.

      Bits and group sizes are in config.json beside the checkpoint (for GPTQ also in \
      quantize_config.json, for AWQ in quant_config.json).

      EXAMPLES
        condi-convert import mlx-model/model.safetensors model.condi --from mlx
        condi-convert import gptq-model model.condi --from gptq
        condi-convert import awq-model model.condi --from awq
        condi-convert import model.safetensors model.condi --from gptq --config quantize_config.json
      """)

  @Argument(help: "A model file, or the folder of a checkpoint.", completion: .file())
  var input: String

  @Argument(help: "The packed file to write.", completion: .file())
  var output: String

  @Option(
    name: .customLong("from"),
    help: ArgumentHelp(
      "The program that quantized it: mlx, gptq, awq or compressed-tensors.", valueName: "program"))
  var source: ImportSource

  @Option(
    help: ArgumentHelp("The configuration, where it lies elsewhere.", valueName: "file"),
    completion: .file())
  var config: String?

  @Flag(help: "Replace an existing output.")
  var force = false

  @OptionGroup var report: ReportOptions
  @OptionGroup var common: CommonOptions

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
