import ArgumentParser
import Formats
import Imaging
import Storage
import SuperResolution
import Transform

struct CalibrateCommand: DocumentedCommand {
  static let page = CommandPage(
    name: "calibrate",
    abstract: "Record statistics of a super-resolution model's activations.",
    examples: [
      "condi-convert calibrate model.pth stats.calib.npz --images photos/",
      "condi-convert calibrate model.pth stats.calib.npz --images photos/ --bits 2",
      "condi-convert calibrate model.pth stats.calib.npz --images lr/ \\\n"
        + "  --low-resolution",
    ],
    essentials: ["--images", "--low-resolution", "--patches", "--bits", "--force"],
    notes: """
      NOTES
        What is recorded is for --calibration of 'convert', 'quantize' and
        'condition'.
      """)

  @Argument(help: "A super-resolution model in full precision.", completion: .file())
  var model: String

  @Argument(help: "The archive to write, such as stats.calib.npz.", completion: .file())
  var output: String

  @Option(
    help: ArgumentHelp("A folder with PNG, JPEG and WebP images.", valueName: "folder"),
    completion: .directory)
  var images: String

  @OptionGroup(title: "Calibration") var samples: SampleOptions

  @Option(
    help: ArgumentHelp(
      "Record inputs quantized to so many bits as well, 1 to 8.", valueName: "n"))
  var bits: Int?

  @Option(
    help: ArgumentHelp(
      "How bounds are found for that: minmax, dobi or free; 'best' uses 'free'.",
      valueName: "name"))
  var search: BoundSearchMethod = .free

  @Option(
    help: ArgumentHelp(
      "What bounds will be measured in: the values themselves (tensor), the largest magnitude of "
        + "each row (row) or the range of each group of so many values of it (group:N); 'best' uses "
        + "'group:16', which is the default.", valueName: "what"))
  var activationScaling: ActivationScaling?

  @Option(
    name: .customLong("recipe"),
    help: ArgumentHelp(
      "Of convolutions, record those that this recipe quantizes: a recipe file, or one of: "
        + "\(Recipe.builtInNames.joined(separator: ", ")).", valueName: "file|name"),
    completion: .file())
  var recipeName: String?

  @Option(help: ArgumentHelp("The part of a nested checkpoint to take.", valueName: "name"))
  var root: String?

  @Flag(help: "Replace an existing output.")
  var force = false

  @OptionGroup(title: "Report") var report: ReportOptions
  @OptionGroup(title: "Running") var common: CommonOptions

  func validate() throws {
    if let bits, !(1...8).contains(bits) {
      throw ValidationError("--bits takes a number from 1 to 8")
    }
  }

  func run() throws {
    // Detects obstacles to writing the output before the work.
    var writer = try AtomicFileWriter(path: output, replacesExisting: force)
    let (network, weights, _) = try UpscalerArgument.open(
      model, name: UpscalerArgument.name(of: model), root: root, common: common)
    let patches = samples.applied()
    let folder = try ImageFolder(
      folder: images, scale: network.scale, channelCount: network.channelCount,
      isLowResolution: patches.isLowResolution)
    let recipe = try QuantizationOptions.recipe(recipeName ?? Recipe.builtInNames[0])
    let progress = CompressionProgress(byteCount: 0, isQuiet: common.quiet)
    let calibrating = try NetworkCalibration(
      network: network, plan: QuantizationPlan(allowingNothing: weights, recipe: recipe),
      images: folder, patches: patches, bitWidths: bits.map { [$0] } ?? [], search: search,
      scaling: activationScaling ?? QuantizationMethod.best.activationScaling,
      threads: common.threads
    ) { progress.show(.calibrating(doneCount: $0, count: $1)) }
    let calibration = try locatingErrors(path: model) { try calibrating.calibration() }
    try locatingErrors(path: output) {
      _ = try writer.write(
        NPZFormat(isCompressed: true).plan(calibration.archive()),
        runningTasks: common.workers().tasks)
    }
    try writer.finish()
    try report.print(
      CalibrationReport(
        model: model, output: output, images: images,
        imageCount: folder.paths.count, patchCount: patches.count,
        patchSide: patches.side, seed: patches.seed, calibration: calibration),
      textLimit: 20)
  }
}

extension BoundSearchMethod: ExpressibleByArgument {}
extension ActivationScaling: ExpressibleByArgument {
  public static var allValueStrings: [String] { ["tensor", "row", "group:16"] }
}
