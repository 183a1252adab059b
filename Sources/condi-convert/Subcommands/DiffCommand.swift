import ArgumentParser
import Formats
import Imaging
import Inspect
import SuperResolution

struct DiffCommand: DocumentedCommand {
  static let page = CommandPage(
    name: "diff",
    abstract: "Show what differs between two model files, across formats and precisions.",
    examples: [
      "condi-convert diff old.pth new.safetensors",
      "condi-convert diff model.pth model.condi --layers '*.qkv.weight' --condition",
      "condi-convert diff a.npz b.npz --tolerance 1e-6 --tolerance '*.norm*=1e-4'",
      "condi-convert diff a.pth b.pth --ignore '*.num_batches_tracked'",
      "condi-convert diff a.pth b.pth --map '^layers\\.(\\d+)=blocks.$1' --any-layout",
      "condi-convert diff base.safetensors+lora.safetensors merged.safetensors",
      "condi-convert diff model.pth model.condi --dataset Set5 --format markdown",
      "git difftool -x 'condi-convert diff' HEAD~1 -- model.safetensors",
    ],
    essentials: ["--layers", "--ignore", "--tolerance", "--dataset", "--format"],
    notes: """
      EXIT CODES
        0 the same, 1 they differ, 2 an error
      """)

  @Argument(help: "A model file of any known format.", completion: .file())
  var first: String

  @Argument(help: "Another one.", completion: .file())
  var second: String

  @OptionGroup var comparison: ComparisonOptions

  @Option(help: ArgumentHelp("The part of the first file to compare.", valueName: "name"))
  var firstRoot: String?

  @Option(help: ArgumentHelp("The part of the second file to compare.", valueName: "name"))
  var secondRoot: String?

  @Option(
    help: ArgumentHelp(
      "A folder of images on which both networks are run.", valueName: "folder"),
    completion: .directory)
  var dataset: String?

  @OptionGroup(title: "Report") var report: ReportOptions
  @OptionGroup(title: "Running") var common: CommonOptions

  func run() throws {
    var roundings: [String: Double] = [:]
    let (left, right) = try archives(&roundings)
    let bar = ProgressBar("comparing", total: left.tensorByteCount, isQuiet: common.quiet)
    var options = try comparison.options(threads: common.threads)
    options.roundings = roundings
    let outputs = try dataset.map(outputs)
    var difference = try DiffReport(
      left, right, fileA: first, fileB: second, options: options
    ) { bar.advance($0) }
    difference.outputs = outputs
    try report.print(difference)
    if !difference.isSame { throw Outcome.finding }
  }

  private func outputs(on folder: String) throws -> OutputComparison {
    let networks = try [(first, firstRoot), (second, secondRoot)].map { path, root in
      try UpscalerArgument.open(
        path, name: UpscalerArgument.name(of: path), root: root, common: common
      ).network
    }
    let bar = ProgressBar("upscaling", isQuiet: common.quiet)
    return try OutputComparison(
      networks[0], networks[1], set: BenchmarkSet(folder: folder, scale: networks[0].scale)
    ) { bar.reach(share: $0) }
  }

  /// - Parameter roundings: gets the tolerances of merged weights.
  private func archives(
    _ roundings: inout [String: Double]
  ) throws -> (TensorArchive, TensorArchive) {
    func open(_ path: String, root: String?) throws -> TensorArchive {
      guard let sum = ModelSum(argument: path) else {
        return try ModelArgument.open(path, root: root, stored: true, common: common)
      }
      let merged = try sum.open(root: root, common: common)
      roundings.merge(try merged.roundings()) { max($0, $1) }
      return merged.archive
    }
    var left = try open(first, root: firstRoot)
    var right = try open(second, root: secondRoot)
    if !comparison.stored {
      // One of two copies may have no configuration next to it.
      let (a, b) = (left.codeConfiguration, right.codeConfiguration)
      left = ModelArgument.assembled(left, path: first, configuration: a ?? b, common: common)
      right = ModelArgument.assembled(right, path: second, configuration: b ?? a, common: common)
      if !comparison.mapsNames {
        let models = ((first, left), (second, right))
        left = try ModelArgument.edited(models.0, like: models.1, common: common)
        right = try ModelArgument.edited(models.1, like: models.0, common: common)
      }
    }
    guard firstRoot == nil, secondRoot == nil, !comparison.mapsNames else { return (left, right) }
    let aligned = ModelArgument.aligned([(first, left), (second, right)], common: common)
    return (aligned[0], aligned[1])
  }
}
