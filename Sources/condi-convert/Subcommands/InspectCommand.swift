import ArgumentParser
import Formats
import Inspect
import Ranks
import Storage
import Transform

struct InspectCommand: SharedCommand, DocumentedCommand {
  static let page = CommandPage(
    name: "inspect",
    abstract: "Show singular values, condition numbers, ranks and sizes, layer by layer.",
    examples: [
      "condi-convert inspect model.pth --sort condition --limit 10",
      "condi-convert inspect model.condi --format html > report.html",
      "condi-convert inspect model.pth --fail-if 'condition > 1e4 on *.qkv.weight'",
      "condi-convert inspect model.safetensors --layers '*.qkv.weight'",
      "condi-convert inspect model.pth --extremes --sort condition",
      "condi-convert inspect model.pth --split-qkv --format json > report.json",
      "condi-convert inspect model.pth --calibration stats.calib.npz",
      "condi-convert inspect run/step_*.pth --trajectory --format html > run.html",
      "condi-convert inspect before.pth after.pth --split-qkv",
      "condi-convert inspect model.pth --layers 'conv*' --conv-operator 64x64",
      "condi-convert inspect model.pth --fail-if 'sqnr4 < 15 dB' \\\n"
        + "  --fail-if 'nan > 0' --junit report.xml",
      "condi-convert inspect checkpoint.pth --tree --depth 2",
      "condi-convert inspect model.condi --raw-header",
    ],
    essentials: [
      "--layers", "--calibration", "--fail-if", "--tree", "--format",
    ],
    notes: """
      RULES
        --fail-if 'METRIC COMPARISON NUMBER [UNIT] [on GLOB]' ends with exit code 1
        when a layer meets it. Metrics are those of --sort.

      FORMATS
      \(CommandPage.list(FormatRegistry.standard.formats.map(\.identifier.displayName)))
      """)

  @Argument(
    help: "Model files of any known format, or folders of sharded checkpoints.",
    completion: .file())
  var files: [String]

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
      "Order of the layers.",
      valueName: "key"))
  var sort: ModelReport.SortKey = .file

  @Flag(help: "The other way round: the smallest number first, names from Z to A.")
  var reverse = false

  @Flag(
    name: .customLong("split-qkv"),
    help: "Show a fused query-key-value weight, known by name or shape, as its three parts.")
  var splitQKV = false

  @Flag(help: "List all singular values of every layer (JSON only).")
  var singularValues = false

  @Flag(
    help: ArgumentHelp(
      "Compute only the largest and the smallest singular value of each matrix, to a relative error "
        + "of \(ModelReport.extremesError), and nothing of the elements."))
  var extremes = false

  @Option(
    name: .customLong("conv-operator"),
    help: ArgumentHelp(
      "See weights of four dimensions as circular convolutions of stride 1 on feature maps of this "
        + "size.", valueName: "WxH"))
  var convolutionGrid: ConvolutionOperator.Grid?

  @Option(
    help: ArgumentHelp(
      "Groups of convolutions whose name matches, for --conv-operator; may be given several times. Kernels "
        + "with one input channel are taken for depthwise ones otherwise, others for one group, which is "
        + "said.", valueName: "glob=n"))
  var groups: [GroupCountArgument] = []

  @Option(
    help: ArgumentHelp(
      "Statistics of the layers' inputs (.calib.npz), to predict what quantization will cost.",
      valueName: "file"), completion: .file())
  var calibration: String?

  @Flag(help: "Show several checkpoints of one training run by step.")
  var trajectory = false

  @Flag(help: "List vectors and scalars one by one in plain text.")
  var all = false

  @Flag(help: "Show tensors as they are stored, and put none together that belong together.")
  var stored = false

  @Option(
    help: ArgumentHelp(
      "A model with the same names, whose condition numbers are set beside: the full-precision one "
        + "of a packed file, or the one before conditioning.", valueName: "file"),
    completion: .file())
  var reference: String?

  @Option(
    help: ArgumentHelp(
      "A rule that no layer may meet; may be given several times.", valueName: "rule"))
  var failIf: [String] = []

  @Option(
    help: ArgumentHelp(
      "Also write what became of the rules as JUnit XML, replacing the file: a suite a rule, a case "
        + "a layer.", valueName: "file"), completion: .file())
  var junit: String?

  @Flag(
    help: "Show the structure, with every container, tensor and value, and no numbers of weights.")
  var tree = false

  @Option(
    help: ArgumentHelp(
      "Levels of the tree that are listed; all of them by default.", valueName: "n"))
  var depth: Int?

  @Flag(help: "Print the JSON header of a packed file as it is stored, and nothing else.")
  var rawHeader = false

  @OptionGroup(title: "Report") var report: ReportOptions
  @OptionGroup(title: "Running") var common: CommonOptions

  func validate() throws {
    if let depth, depth < 0 { throw ValidationError("--depth takes a number of at least 0") }
    if depth != nil, !tree { throw ValidationError("--depth needs --tree") }
    if tree || rawHeader, files.count > 1 {
      throw ValidationError("--tree and --raw-header take one file")
    }
    if reference != nil, files.count > 1 {
      throw ValidationError(
        "--reference takes one file; several files are compared side by side anyway")
    }
    if extremes, singularValues {
      throw ValidationError("--extremes computes no other singular values to list")
    }
    if !groups.isEmpty, convolutionGrid == nil {
      throw ValidationError("--groups needs --conv-operator")
    }
    if trajectory, files.count < 2 {
      throw ValidationError("--trajectory takes several checkpoints of one training run")
    }
    if trajectory, calibration != nil || extremes {
      throw ValidationError("--trajectory cannot be combined with --calibration and --extremes")
    }
    if junit != nil, failIf.isEmpty { throw ValidationError("--junit needs --fail-if") }
    let changesNumbers =
      rawHeader || singularValues || splitQKV || reverse || sort != .file || !layers.isEmpty
      || extremes || calibration != nil || trajectory || all || convolutionGrid != nil
      || reference != nil || !failIf.isEmpty
    if tree, changesNumbers {
      throw ValidationError(
        "--tree shows only the structure; it can be combined with --depth, --root, --limit and "
          + "--format")
    }
  }

  func run() throws {
    let file = files[0]
    if rawHeader {
      let input = try InputFile(path: StandardInput.path(file), access: common.access)
      try Console.report(try PackedModel(parsing: input).headerText)
      return
    }
    if tree {
      let archive = try ModelArgument.open(file, root: root, stored: true, common: common)
      try report.print(
        TreeReport(
          archive: archive, file: file, fileByteCount: archive.sourceByteCount(), depth: depth))
      return
    }
    let ranks = SharedWork.ranks(reading: files + [reference], common: common)
    var steps: [TrajectoryReport.Step] = []
    let models = try SharedWork.share(
      among: ranks,
      preparing: { try opened(ranks, steps: &steps) },
      { archives, options in
        try zip(files, archives).map { try model($0, $1, options: options) }
      })
    guard ranks.isRoot else { return }
    if let junit {
      let outcomes = models.map { (file: $0.file, outcomes: $0.rules ?? []) }
      try AtomicFileWriter.write(
        SharedBytes(JUnitRenderer().render(outcomes).utf8), to: junit, replacesExisting: true)
    }
    if trajectory {
      try report.print(TrajectoryReport(models, steps: steps), textLimit: 40)
    } else if models.count == 1 {
      try report.print(models[0])
    } else {
      try report.print(ModelComparison(models: models))
    }
    if !models.allSatisfy(\.isPassed) { throw Outcome.finding }
  }

  /// Opens the models and assembles the options.
  ///
  /// - Parameter steps: gets the steps of a trajectory.
  private func opened(
    _ ranks: RankGroup, steps: inout [TrajectoryReport.Step]
  ) throws -> (archives: [TensorArchive], options: ModelReport.Options) {
    // Rules are parsed before the first file is read, so that a mistake in them is reported at
    // once.
    var options = try options()
    options.ranks = ranks
    let checkpoints = try files.map {
      (file: $0, archive: try ModelArgument.openWhole($0, common: common))
    }
    // Counters of steps lie beside the weights.
    if trajectory { steps = TrajectoryReport.steps(of: checkpoints) }
    var archives = try checkpoints.map {
      try ModelArgument.part(
        root, of: $0.archive, path: $0.file, stored: stored, common: common)
    }
    if let calibration {
      options.calibrated = (
        calibration, try Calibration(contentsOf: calibration, access: common.access)
      )
      // A calibration names layers as the network does.
      if root == nil {
        archives = try zip(files, archives).map { file, archive in
          try archive.conventionalRoot.map {
            try ModelArgument.select($0, of: archive, path: file, common: common)
          } ?? archive
        }
      }
    }
    if let reference, let file = files.first {
      var counterpart = try ModelArgument.openReference(
        reference, root: root, sourceRoot: archives[0].sourceRoot, edits: archives[0].edits,
        stored: stored, common: common)
      if root == nil {
        let aligned = ModelArgument.aligned(
          [(file, archives[0]), (reference, counterpart)], common: common)
        (archives[0], counterpart) = (aligned[0], aligned[1])
      }
      options.reference = (reference, counterpart)
    } else if files.count > 1, root == nil {
      archives = ModelArgument.aligned(
        zip(files, archives).map { (path: $0, archive: $1) }, common: common)
    }
    return (archives, options)
  }

  private func options() throws -> ModelReport.Options {
    var options = ModelReport.Options()
    options.layers = try layers.map(NameGlob.init)
    options.rules = try failIf.map(MetricRule.init)
    options.sortKey = sort
    // Numbers are sorted largest first by default, names and the file's order ascending.
    options.isDescending = sort.isNumeric != reverse
    options.splitsFusedQKV = splitQKV
    options.includesSingularValues = singularValues
    options.onlyExtremes = extremes
    options.listsAll = all || !layers.isEmpty
    options.convolutionGrid = convolutionGrid
    options.convolutionGroups = try groups.map { (try NameGlob($0.pattern), $0.count) }
    options.threads = common.threads
    return options
  }

  private func model(
    _ file: String, _ archive: TensorArchive, options: ModelReport.Options
  ) throws -> ModelReport {
    let bar = ProgressBar("inspecting", total: archive.tensorByteCount, isQuiet: common.quiet)
    var model = try ModelReport(
      archive: archive, file: file, fileByteCount: try archive.sourceByteCount(), options: options
    ) { bar.advance(archive.tensors[$0]?.byteCount ?? 0) }
    model.packed = archive.packedSummary
    return model
  }
}

/// A command-line argument such as `*.dw.*=32`.
struct GroupCountArgument: ExpressibleByArgument {
  let pattern: String
  let count: Int

  init?(argument: String) {
    guard let (pattern, value) = argument.patternAndValue, let count = Int(value), count >= 1
    else { return nil }
    self.pattern = pattern
    self.count = count
  }
}

extension ModelReport.SortKey: ExpressibleByArgument {
  fileprivate var isNumeric: Bool { self != .file && self != .name }
}

extension ConvolutionOperator.Grid: ExpressibleByArgument {
  package init?(argument: String) { self.init(argument) }
}
