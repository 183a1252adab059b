import ArgumentParser
import Imaging
import Storage
import SuperResolution

struct EvaluateCommand: DocumentedCommand {
  static let page = CommandPage(
    name: "evaluate",
    abstract: "Measure PSNR and SSIM of super-resolution models over a data set.",
    examples: [
      "condi-convert evaluate model.condi --dataset Set5",
      "condi-convert evaluate model.pth 4bit.condi 2bit.condi --dataset Set5",
      "condi-convert evaluate 2bit.condi --against model.pth --dataset Set5 \\\n"
        + "  --max-loss 1",
      "condi-convert evaluate model.pth 2bit.condi --dataset Set5 \\\n"
        + "  --format html > set5.html",
      "condi-convert evaluate 2bit.condi --against model.pth --dataset Set5 \\\n"
        + "  --comparison worst.png",
      "condi-convert evaluate denoise.pth --dataset photos/ --degraded noisy/",
      "condi-convert evaluate --dataset Set5 --scale 2",
    ],
    essentials: ["--dataset", "--against", "--max-loss", "--format"],
    notes: """
      NOTES
        A data set is a folder of images, or one with HR and LR_bicubic/X2 (X3, …).
      """)

  @Argument(
    help:
      "Super-resolution models, full-precision or packed; without any, bicubic alone is measured.",
    completion: .file())
  var models: [String] = []

  @Option(help: ArgumentHelp("The data set's folder.", valueName: "folder"), completion: .directory)
  var dataset: String

  @Option(
    help: ArgumentHelp(
      "A folder with the images that models get, under the names of the high-resolution images.",
      valueName: "folder"), completion: .directory)
  var degraded: String?

  @Option(
    help: ArgumentHelp(
      "The factor that images are upscaled by; by default the models' own.", valueName: "n"))
  var scale: Int?

  @Option(
    help: ArgumentHelp(
      "What gains are against: 'bicubic' or a model, which is measured as well.",
      valueName: "model"), completion: .file())
  var against: String?

  @Option(
    help: ArgumentHelp(
      "Exit with 1 when a model's mean PSNR is more than so many dB below what gains are against.",
      valueName: "dB"))
  var maxLoss: Double?

  @Option(help: ArgumentHelp("The part of nested checkpoints to take.", valueName: "name"))
  var root: String?

  @Flag(
    help: ArgumentHelp(
      "Multiply in floating point where a packed model's quantized layers would be multiplied as "
        + "whole numbers; for comparison."))
  var float = false

  @Option(
    help: ArgumentHelp(
      "Also write the regions where the last model does worst as one image, one per row: high and low "
        + "resolution, bicubic and the models side by side. Its name ends in "
        + "\(ImageFormat.extensionList).",
      valueName: "file"), completion: .file())
  var comparison: String?

  @Flag(help: "Replace an existing file of --comparison.")
  var force = false

  @OptionGroup(title: "Report") var report: ReportOptions
  @OptionGroup(title: "Running") var common: CommonOptions

  func validate() throws {
    if let scale, !(1...64).contains(scale) {
      throw ValidationError("--scale takes a number from 1 to 64")
    }
    if paths.isEmpty, scale == nil {
      throw ValidationError("without a model, --scale must be given")
    }
    if models.contains(UpscalerArgument.bicubic) {
      throw ValidationError("'bicubic' is always measured; name only models")
    }
    if Set(models).count < models.count { throw ValidationError("a model is named twice") }
    if let comparison {
      guard ImageFormat(path: comparison) != nil else {
        throw ValidationError("'\(comparison)' must end in \(ImageFormat.extensionList)")
      }
      guard !paths.isEmpty else { throw ValidationError("--comparison needs a model") }
    }
    guard comparison != nil || !force else {
      throw ValidationError("--force is for --comparison")
    }
    if let maxLoss {
      guard maxLoss.isFinite else { throw ValidationError("--max-loss takes a number of dB") }
      guard paths.count > 1 || against == UpscalerArgument.bicubic else {
        throw ValidationError(
          "--max-loss needs two models, or one model and --against")
      }
    }
  }

  /// The models in column order, beginning with the reference of the comparison.
  private var paths: [String] {
    guard let against, against != UpscalerArgument.bicubic, !models.contains(against) else {
      return models
    }
    return [against] + models
  }

  func run() throws {
    if let comparison { try OutputDestination.check(comparison, replacesExisting: force) }
    let names = names(of: paths)
    let methods = try zip(paths, names).map { path, name in
      let (network, _, byteCount) = try UpscalerArgument.open(
        path, name: name, root: root, usesIntegers: !float, common: common)
      return Evaluation.Method(
        name: name, path: path, fileByteCount: byteCount, upscaler: network)
    }
    guard let scale = scale ?? methods.first?.upscaler.scale else { return }
    let reference = against.map { against in
      paths.firstIndex(of: against).map { $0 + 1 } ?? 0
    }
    let evaluation = try Evaluation(
      set: BenchmarkSet(folder: dataset, scale: scale, degradedFolder: degraded), models: methods,
      reference: reference)
    let bar = ProgressBar("evaluating", isQuiet: common.quiet)
    let evaluated = try evaluation.run { bar.reach(share: $0) }
    if let comparison { try write(evaluated, to: comparison) }
    try report.print(evaluated)
    let objections = maxLoss.map { evaluated.objections(toLossesAbove: $0) } ?? []
    for (name, reason) in objections { Console.note("\(name) \(reason)", unless: common.quiet) }
    if !objections.isEmpty { throw Outcome.finding }
  }

  /// Writes the worst regions as one image.
  private func write(_ evaluated: EvaluationReport, to path: String) throws {
    guard let image = evaluated.comparisonImage, let format = ImageFormat(path: path) else {
      return
    }
    try locatingErrors(path: path) {
      try AtomicFileWriter.write(
        image.encoded(as: format), to: path, replacesExisting: force)
    }
    Console.note(
      "wrote \(path), from left to right: "
        + evaluated.comparisonColumns.joined(separator: ", "), unless: common.quiet)
  }

  /// Returns the files' names without folder and extension, or their paths if the names are
  /// ambiguous.
  private func names(of paths: [String]) -> [String] {
    let short = paths.map(UpscalerArgument.name)
    let isClear = Set(short + [UpscalerArgument.bicubic]).count == short.count + 1
    return isClear ? short : paths
  }
}
