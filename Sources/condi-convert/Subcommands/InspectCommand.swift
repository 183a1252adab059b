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

      EXAMPLES
        condi-convert inspect model.pth
        condi-convert inspect model.safetensors --layers '*.qkv.weight' --sort condition --limit 5
        condi-convert inspect model.pth --split-qkv --format json > report.json
        condi-convert inspect model.condi --raw-header
      """)

  @Argument(help: "A model file of any known format.")
  var file: String

  @Option(
    help: ArgumentHelp(
      "Only layers whose name matches; may be given several times. A pattern that matches nothing "
        + "is an error.", valueName: "glob"))
  var layers: [String] = []

  @Option(help: ArgumentHelp("Only what lies below this part of a nested checkpoint.", valueName: "name"))
  var root: String?

  @Option(
    help: ArgumentHelp(
      "Order of the layers: "
        + LayerSortKey.allCases.map(\.rawValue).joined(separator: ", ") + ".", valueName: "key"))
  var sort: LayerSortKey = .file

  @Flag(help: "The other way round: ascending for numbers, descending for names.")
  var reverse = false

  @Option(help: ArgumentHelp("Show only the first layers after sorting.", valueName: "n"))
  var limit: Int?

  @Flag(name: .customLong("split-qkv"), help: "Show a fused query-key-value weight as its three parts.")
  var splitQKV = false

  @Flag(help: "Print the JSON header of a packed file as it is stored, and nothing else.")
  var rawHeader = false

  @OptionGroup var report: ReportOptions
  @OptionGroup var common: CommonOptions

  func validate() throws {
    if let limit, limit < 1 { throw ValidationError("--limit takes a number of at least 1") }
  }

  func run() throws {
    if rawHeader {
      let input = try InputFile(path: file)
      Console.report(try PackedModel(parsing: input).headerText)
      return
    }
    let archive = try ModelArgument.open(file, root: root)
    let bar = ProgressBar(
      "inspecting", total: archive.tensorByteCount, isQuiet: common.quiet)
    let model = try ModelReport(
      file: file, archive: archive, layers: layers.map(NameGlob.init), sort: sort,
      isReversed: reverse, limit: limit, splitsFusedQKV: splitQKV, threads: common.threads
    ) { bar.advance($0) }
    try report.print(model)
  }
}

extension LayerSortKey: ExpressibleByArgument {}
