import ArgumentParser
import Glibc
import Imaging
import Reports
import Storage
import SuperResolution

struct UpscaleCommand: DocumentedCommand {
  static let page = CommandPage(
    name: "upscale",
    abstract: "Upscale an image, or all of a folder, with a super-resolution model.",
    examples: [
      "condi-convert upscale model.condi photo.png big.png",
      "condi-convert upscale model.condi photos/ large/",
      "condi-convert upscale bicubic photo.png big.png --scale 4",
      "condi-convert upscale swinir_light_x2.pth photo.jpg big.jpg --quality 90",
      "condi-convert upscale model.condi scan.png big.png --tile 256",
      "condi-convert upscale model.condi photo.jpg big.png --format json",
    ],
    essentials: ["--tile", "--quality", "--force"],
    notes: """
      NETWORKS
      \(CommandPage.list(SuperResolutionNetwork.knownNames + ["networks of ncnn"]))
      """)

  @Argument(
    help: "A super-resolution model, full-precision or packed, or 'bicubic'.", completion: .file())
  var model: String

  @Argument(help: "A PNG, JPEG or WebP file, or a folder of them.", completion: .file())
  var input: String

  @Argument(
    help: "The file to write: .png, .jpg, .jpeg or .webp; for a folder, a folder.",
    completion: .file())
  var output: String

  @Option(
    help: ArgumentHelp("The factor of 'bicubic'; models have their own.", valueName: "n"))
  var scale: Int?

  @Option(
    help: ArgumentHelp(
      "Run the model on tiles of so many pixels of the input a side; by default the largest that fit "
        + "the memory. Each sees up to 32 more around it, so results differ a little from those of the "
        + "whole image.",
      valueName: "n"))
  var tile: Int?

  @Option(
    help: ArgumentHelp(
      "Quality of JPEG output (95), or of WebP output, which loses nothing without it; 1 to 100.",
      valueName: "n"))
  var quality: Int?

  @Option(help: ArgumentHelp("The part of a nested checkpoint to take.", valueName: "name"))
  var root: String?

  @Flag(help: "Replace an existing output.")
  var force = false

  @Flag(
    help: ArgumentHelp(
      "Multiply in floating point where a packed model's quantized layers would be multiplied as "
        + "whole numbers; for comparison."))
  var float = false

  @Option(
    help: ArgumentHelp(
      "Also print a report of what was made and left out: text, json, csv, markdown or html.",
      valueName: "format"))
  var format: ReportFormat?

  @OptionGroup(title: "Running") var common: CommonOptions

  private var isBicubic: Bool { model == UpscalerArgument.bicubic }

  func validate() throws {
    if !input.isFolder, ImageFormat(path: output) == nil {
      throw ValidationError("'\(output)' must end in \(ImageFormat.extensionList)")
    }
    if let scale, !(1...64).contains(scale) {
      throw ValidationError("--scale takes a number from 1 to 64")
    }
    if isBicubic != (scale != nil) {
      throw ValidationError(
        isBicubic ? "'bicubic' needs --scale" : "--scale is for 'bicubic'; models know theirs")
    }
    if let tile, !(16...65_535).contains(tile) {
      throw ValidationError("--tile takes a number from 16 to 65535")
    }
    if tile != nil, isBicubic { throw ValidationError("--tile is for models") }
    if let quality, !(1...100).contains(quality) {
      throw ValidationError("--quality takes a number from 1 to 100")
    }
  }

  func run() throws {
    var opened: (any Upscaler)?
    let files = FileUpscaling(
      quality: quality, tileSize: tile, replacesExisting: force, access: common.access
    ) { image in
      if let scale { return BicubicUpscaler(scale: scale, bitDepth: image.bitDepth) }
      let network = try opened ?? openNetwork()
      opened = network
      return network
    }
    /// The bytes of weights in memory, once the model has been opened.
    func weightByteCount() -> Int? { (opened as? SuperResolutionNetwork)?.weightByteCount }
    let result =
      input.isFolder
      ? try upscaleFolder(files, weightByteCount) : try upscaleImage(files, weightByteCount)
    let network = opened as? SuperResolutionNetwork
    let integers = network?.integerLayerCount ?? 0
    let (factor, name) = (opened?.scale ?? scale ?? 1, opened?.name ?? UpscalerArgument.bicubic)
    Console.note(
      "wrote \(result) to \(output), ×\(factor) by \(name)"
        + (integers > 0 ? ", \(integers) layers in integer arithmetic" : "")
        + (network.map { ", \(ReportNumber.bytes($0.weightByteCount)) of weights" } ?? ""),
      unless: common.quiet)
  }

  /// - Returns: what was made, for a message.
  private func upscaleImage(
    _ files: FileUpscaling, _ weightByteCount: () -> Int?
  ) throws -> String {
    let bar = ProgressBar("upscaling", isQuiet: common.quiet)
    let image = try upscale(
      files, try StandardInput.path(input), named: input, to: output, showing: bar)
    try print(
      UpscaleReport(
        input: input, model: model, weightByteCount: weightByteCount(), images: [image]))
    return "\(image.width)×\(image.height) pixels"
  }

  /// Upscales one image, and says in which tiles if it does not stay whole.
  private func upscale(
    _ files: FileUpscaling, _ path: String, named name: String, to output: String,
    showing bar: ProgressBar
  ) throws -> UpscaledImage {
    try files.upscale(path, named: name, to: output) { choice in
      guard choice.size != nil else { return }
      Console.note("\(name): tiles: \(choice.summary)", unless: common.quiet)
    } progress: { progress in
      bar.reach(
        share: progress.share,
        detail: progress.tileCount > 1 ? "tile \(progress.tile) of \(progress.tileCount)" : "")
    }
  }

  /// Upscales every image of a folder. One that cannot be is told, and the others follow.
  ///
  /// - Returns: what was made, for a message.
  /// - Throws: `ModelError` when an image could not be upscaled, after all others.
  private func upscaleFolder(
    _ files: FileUpscaling, _ weightByteCount: () -> Int?
  ) throws -> String {
    let pairs = try files.files(of: input, to: output)
    var images: [UpscaledImage] = []
    var failures: [UpscaleReport.Failure] = []
    for (index, pair) in pairs.enumerated() {
      let bar = ProgressBar("upscaling \(index + 1) of \(pairs.count)", isQuiet: common.quiet)
      do {
        images.append(
          try upscale(files, pair.input, named: pair.input, to: pair.output, showing: bar))
      } catch let error as ModelError where error.path != model {
        Console.error(Console.explanation(of: error))
        let isOfInput = error.path == pair.input
        failures.append(
          .init(input: pair.input, message: isOfInput ? "\(error.problem)" : "\(error)"))
      }
    }
    try print(
      UpscaleReport(
        input: input, model: model, weightByteCount: weightByteCount(), images: images,
        failures: failures))
    guard failures.isEmpty else {
      throw ModelError(
        "\(failures.count) of \(counted(pairs.count, "image")) could not be upscaled",
        path: input)
    }
    return counted(images.count, "image")
  }

  private func print(_ report: UpscaleReport) throws {
    if let format {
      try Console.report(
        report.rendered(as: format, rowLimit: nil, textWidth: Console.reportWidth))
    }
    for image in report.images {
      for omission in image.omissions {
        Console.note("\(image.input): left out \(omission)", unless: common.quiet)
      }
    }
  }

  private func openNetwork() throws -> SuperResolutionNetwork {
    try UpscalerArgument.open(
      model, name: UpscalerArgument.name(of: model), root: root, usesIntegers: !float,
      common: common
    ).network
  }
}
