import ArgumentParser
import Formats
import Glibc
import Inspect
import Storage
import SuperResolution

struct ExportCommand: DocumentedCommand {
  static let page = CommandPage(
    name: "export",
    abstract: "Write a model for ONNX Runtime, ncnn, MLX or llama.cpp, and say what changed.",
    examples: [
      "condi-convert export model.pth model.onnx",
      "condi-convert export model.condi model.gguf",
      "condi-convert export model.condi model-mlx --to mlx --pad",
      "condi-convert export swinir.pth swinir.onnx --size 256x256",
      "condi-convert export model.pth model.param --precision float16",
      "condi-convert export llm.condi weights.onnx --weights",
      "condi-convert export model.condi layers.onnx --to onnx-matmulnbits",
      "condi-convert export llm.condi llm.gguf --blocks q4_k",
      "condi-convert export model.condi codes.safetensors",
    ],
    essentials: ["--to", "--size", "--pad", "--dry-run", "--force"],
    notes: """
      RUNTIMES
        mlx               a folder: model.safetensors and config.json
        onnx              a network; weights by DequantizeLinear and Add, exactly
        ncnn              a network of convolutions: model.param and model.bin
        onnx-matmulnbits  layers that multiply by codes in ONNX Runtime
        gguf              the smallest type that holds the codes; or --blocks
        safetensors       codes, lower bounds and scales as plain tensors
      """)

  @Argument(help: "A packed file, or a checkpoint of a network.", completion: .file())
  var model: String

  @Argument(help: "The file to write, or the folder for mlx.", completion: .file())
  var output: String

  @Option(
    name: .customLong("to"),
    help: ArgumentHelp(
      "What to write, where the output's extension does not tell: "
        + ExportRuntime.all.map(\.name).joined(separator: ", ") + ".",
      valueName: "runtime"))
  var runtime: ExportRuntime?

  @Option(
    help: ArgumentHelp(
      "The height and width of the network's images, such as 128x192.", valueName: "HxW"))
  var size: ImageSizeArgument?

  @Option(help: ArgumentHelp("The part of a nested checkpoint to take.", valueName: "name"))
  var root: String?

  @Option(help: "How ncnn's weights are stored.")
  var precision: NCNNPrecision?

  @Flag(help: "Write the weights of a packed file alone, as outputs of an ONNX model.")
  var weights = false

  @Flag(help: "Fill rows up to whole blocks.")
  var pad = false

  @Flag(
    help: "Write tensors that the runtime has no low-bit form for in full precision instead.")
  var dequantize = false

  @Flag(help: "Round the zero points of onnx-matmulnbits to integers.")
  var integerZeros = false

  @Flag(
    help: "Let onnx-matmulnbits round inputs to int8 where zero points are integers.")
  var int8Inputs = false

  @Option(help: "Round all matrices to GGUF blocks of this type: q4_k or q6_k.")
  var blocks: GGUFExportBlocks?

  @Flag(help: "Print what would become of each tensor, and write nothing.")
  var dryRun = false

  @Flag(help: "Replace existing outputs.")
  var force = false

  @OptionGroup(title: "Report") var report: ReportOptions
  @OptionGroup(title: "Running") var common: CommonOptions

  func validate() throws {
    let runtime = try chosenRuntime
    if runtime == .ncnn, ExportRuntime(pathExtension: output.pathExtension) != .ncnn {
      throw ValidationError("the name of a network for ncnn must end in .param")
    }
    guard runtime == .ncnn || precision == nil else {
      throw ValidationError("--precision is for ncnn")
    }
    guard runtime != .ncnn || !(weights || pad || dequantize) else {
      throw ValidationError(
        "--weights, --pad and --dequantize are for weights alone, which ncnn does not take")
    }
    guard runtime == .weights(.onnxMatMulNBits) || !(integerZeros || int8Inputs) else {
      throw ValidationError("--integer-zeros and --int8-inputs are for onnx-matmulnbits")
    }
    guard runtime == .weights(.gguf) || blocks == nil else {
      throw ValidationError("--blocks is for gguf")
    }
  }

  private var chosenRuntime: ExportRuntime {
    get throws {
      if let runtime { return runtime }
      guard let runtime = ExportRuntime(pathExtension: output.pathExtension) else {
        throw ValidationError(
          "the extension of '\(output)' belongs to no runtime; give --to with one of: "
            + ExportRuntime.all.map(\.name).joined(separator: ", "))
      }
      return runtime
    }
  }

  func run() throws {
    guard case .weights(let target) = try chosenRuntime else {
      let network = try UpscalerArgument.open(
        model, name: model.pathStem, root: root, common: common)
      return try export(network, to: .ncnn(precision ?? .float32), named: ExportRuntime.ncnn.name)
    }
    let input = try InputFile(path: StandardInput.path(model), access: common.access)
    let isPacked = PackedFormat().recognizes(input)
    guard isPacked || target == .onnx else {
      throw ModelError.unsupported(
        "it is not a packed file; 'convert' packs checkpoints", path: model)
    }
    guard isPacked || !(weights || pad || dequantize) else {
      throw ValidationError("--weights, --pad and --dequantize are for packed files")
    }
    if target == .onnx, !(weights || pad || dequantize), let network = try network(isPacked) {
      return try export(network, to: .onnx, named: target.rawValue)
    }
    guard size == nil, root == nil else {
      throw ValidationError("--size and --root are for whole networks")
    }
    let packed = try PackedModel(parsing: input)
    let export = ModelExport(
      packed, to: target,
      options: ExportOptions(
        padsRows: pad, dequantizes: dequantize, roundsZeroPoints: integerZeros,
        roundsInputs: int8Inputs, blocks: blocks))
    let tasks = common.workers().tasks
    let outcome =
      try dryRun
      ? export.planned(runningTasks: tasks)
      : export.write(to: output, replacesExisting: force, runningTasks: tasks)
    try print(outcome, of: packed.fileByteCount, for: target.rawValue)
  }

  private typealias Network = (
    network: SuperResolutionNetwork, weights: TensorArchive, fileByteCount: Int
  )

  /// Returns the network of the file; `nil` for a packed file of which only the weights can be written.
  private func network(_ isPacked: Bool) throws -> Network? {
    do {
      return try UpscalerArgument.open(model, name: model.pathStem, root: root, common: common)
    } catch let error as ModelError where isPacked && error.isUnsuitable && size == nil {
      Console.note(
        "\(model): \(error.problem): its weights alone are written", unless: common.quiet)
      return nil
    }
  }

  private func export(
    _ network: Network, to target: NetworkExport.Target, named name: String
  ) throws {
    let export = try locatingErrors(path: model) {
      try NetworkExport(network.network, of: network.weights, to: target, size: size?.size)
    }
    if !dryRun {
      for path in export.paths(for: output) {
        try OutputDestination.check(path, replacesExisting: force)
      }
    }
    let outcome =
      try dryRun ? export.planned : export.write(to: output, replacesExisting: force)
    try print(outcome, of: network.fileByteCount, for: name)
  }

  private func print(
    _ outcome: ExportOutcome, of inputByteCount: Int, for format: String
  ) throws {
    try report.print(
      ExportReport(
        .export, format: format, input: model, inputByteCount: inputByteCount,
        outcome: outcome), textLimit: 10)
  }
}

extension GGUFExportBlocks: ExpressibleByArgument {}

/// The height and width of images, such as `128x192`.
struct ImageSizeArgument: ExpressibleByArgument {
  let size: (height: Int, width: Int)

  init?(argument: String) {
    let sides = argument.split(separator: "x", omittingEmptySubsequences: false).map { Int($0) }
    guard sides.count == 2, let height = sides[0], let width = sides[1],
      (1...65_536).contains(height), (1...65_536).contains(width)
    else { return nil }
    size = (height, width)
  }
}
