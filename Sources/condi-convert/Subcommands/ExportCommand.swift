import ArgumentParser
import Formats
import Glibc
import Inspect
import Storage

extension ExportTarget: ExpressibleByArgument {}

struct ExportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export",
    abstract: "Write a packed model for MLX, ONNX Runtime or llama.cpp, and say what that changed.",
    discussion: """
      Every tensor is compared with what the packed file stands for: 'exact' means that the \
      runtime's documented arithmetic gives equal values, and 'lossy' comes with the largest error. \
      Rows that the runtime's blocks do not divide are an error unless --pad fills them up with code \
      0; the layer's input then needs as many zeros more.

      RUNTIMES
        mlx               a folder: model.safetensors and config.json
        onnx              DequantizeLinear and Add, which compute weights exactly
        onnx-matmulnbits  layers that multiply by codes in ONNX Runtime
        gguf              Q2_K, Q4_0, Q4_1, Q5_1 or TQ2_0, the smallest that fits
        safetensors       codes, lower bounds and scales as plain tensors

      EXAMPLES
        condi-convert export model.condi model.onnx
        condi-convert export model.condi layers.onnx --to onnx-matmulnbits
        condi-convert export model.condi model-mlx --to mlx --pad
        condi-convert export model.condi model.gguf --pad --dry-run
        condi-convert export model.condi codes.safetensors
      """)

  @Argument(help: "A packed file.", completion: .file())
  var packed: String

  @Argument(help: "The file to write, or the folder for mlx.", completion: .file())
  var output: String

  @Option(
    name: .customLong("to"),
    help: ArgumentHelp(
      "What to write, where the output's extension does not tell: "
        + ExportTarget.allCases.map(\.rawValue).joined(separator: ", ") + ".",
      valueName: "runtime"))
  var target: ExportTarget?

  @Flag(help: "Fill rows up to whole blocks.")
  var pad = false

  @Flag(
    help: "Write tensors that the runtime has no low-bit form for in full precision instead.")
  var dequantize = false

  @Flag(help: "Print what would become of each tensor, and write nothing.")
  var dryRun = false

  @Flag(help: "Replace existing outputs.")
  var force = false

  @OptionGroup var report: ReportOptions
  @OptionGroup var common: CommonOptions

  func validate() throws { _ = try chosenTarget }

  private var chosenTarget: ExportTarget {
    get throws {
      if let target { return target }
      let pathExtension = output.pathExtension
      guard let target = ExportTarget(rawValue: pathExtension), target != .mlx else {
        throw ValidationError(
          "the extension of '\(output)' belongs to no runtime; give --to with one of: "
            + ExportTarget.allCases.map(\.rawValue).joined(separator: ", "))
      }
      return target
    }
  }

  func run() throws {
    let target = try chosenTarget
    let input = try InputFile(path: StandardInput.path(packed), access: common.access)
    guard PackedFormat().recognizes(input) else {
      throw ModelError.unsupported(
        "it is not a packed file; 'convert' packs checkpoints", path: packed)
    }
    let model = try PackedModel(parsing: input)
    let export = ModelExport(
      model, to: target,
      options: ExportOptions(padsRows: pad, dequantizes: dequantize))
    let tasks = common.workers().tasks
    let outcome =
      try dryRun
      ? export.planned(runningTasks: tasks)
      : export.write(to: output, replacesExisting: force, runningTasks: tasks)
    try report.print(
      ExportReport(
        .export, format: target.rawValue, input: packed, inputByteCount: model.fileByteCount,
        outcome: outcome), textLimit: 10)
  }
}
