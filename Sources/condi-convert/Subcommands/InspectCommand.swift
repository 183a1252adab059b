import ArgumentParser
import Formats
import Inspect

struct InspectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract: "Show singular values, condition numbers, ranks and sizes, layer by layer.",
    discussion: """
      A layer's weight is seen as a matrix [outputs, inputs]; a convolution's [out, in, kh, kw] as \
      [out, in·kh·kw]. The condition number is σ_max/σ_min over all min(rows, columns) singular \
      values, and infinite for a rank-deficient matrix. Packed files are inspected as dequantized.

      With --tree, the structure is shown instead: dictionaries, lists and tuples as the file has \
      them, tensors with type, shape and size, and all other values. Names with dots are shown \
      below each other; only what is called dict, list, tuple or set is a container in the file.

      EXAMPLES
        condi-convert inspect model.pth
        condi-convert inspect model.safetensors --layers '*.qkv.weight' --sort condition --limit 5
        condi-convert inspect model.pth --split-qkv --format json > report.json
        condi-convert inspect checkpoint.pth --tree --depth 2
        condi-convert inspect model.condi --raw-header
      """)

  @Argument(help: "A model file of any known format, or the folder of a sharded checkpoint.")
  var file: String

  @Option(
    help: ArgumentHelp(
      "Only layers whose name matches; may be given several times. A pattern that matches nothing "
        + "is an error.", valueName: "glob"))
  var layers: [String] = []

  @Option(
    help: ArgumentHelp("Only what lies below this part of a nested checkpoint.", valueName: "name"))
  var root: String?

  @Option(
    help: ArgumentHelp(
      "Order of the layers: "
        + ModelReport.SortKey.allCases.map(\.rawValue).joined(separator: ", ") + ".",
      valueName: "key"))
  var sort: ModelReport.SortKey = .file

  @Flag(help: "The other way round: the smallest number first, names from Z to A.")
  var reverse = false

  @Flag(
    name: .customLong("split-qkv"), help: "Show a fused query-key-value weight as its three parts.")
  var splitQKV = false

  @Flag(help: "List all singular values of every layer (JSON only).")
  var singularValues = false

  @Flag(
    help: "Show the structure, with every container, tensor and value, and no numbers of weights.")
  var tree = false

  @Option(
    help: ArgumentHelp(
      "Levels of the tree that are listed; all of them by default.", valueName: "n"))
  var depth: Int?

  @Flag(help: "Print the JSON header of a packed file as it is stored, and nothing else.")
  var rawHeader = false

  @OptionGroup var report: ReportOptions
  @OptionGroup var common: CommonOptions

  func validate() throws {
    if let depth, depth < 0 { throw ValidationError("--depth takes a number of at least 0") }
    if depth != nil, !tree { throw ValidationError("--depth is for --tree") }
    if tree, rawHeader || singularValues || splitQKV || reverse || sort != .file || !layers.isEmpty
    {
      throw ValidationError(
        "--tree shows the structure alone; it goes with --depth, --root, --limit and --format")
    }
  }

  func run() throws {
    if rawHeader {
      let input = try InputFile(path: file, access: common.access)
      try Console.report(try PackedModel(parsing: input).headerText)
      return
    }
    let archive = try ModelArgument.open(file, root: root, common: common)
    if tree {
      try report.print(
        TreeReport(
          archive: archive, file: file, fileByteCount: archive.sourceByteCount(), depth: depth))
      return
    }
    let bar = ProgressBar("inspecting", total: archive.tensorByteCount, isQuiet: common.quiet)
    var options = ModelReport.Options()
    options.layers = try layers.map(NameGlob.init)
    options.sortKey = sort
    // Numbers are most interesting from the largest on, names and the file's order from the first.
    options.isDescending = sort.isNumeric != reverse
    options.splitsFusedQKV = splitQKV
    options.includesSingularValues = singularValues
    options.threads = common.threads
    var model = try ModelReport(
      archive: archive, file: file, fileByteCount: try archive.sourceByteCount(), options: options
    ) { bar.advance(archive.tensors[$0]?.byteCount ?? 0) }
    model.packed = archive.packedSummary
    try report.print(model)
  }
}

extension ModelReport.SortKey: ExpressibleByArgument {
  fileprivate var isNumeric: Bool { self != .file && self != .name }
}
