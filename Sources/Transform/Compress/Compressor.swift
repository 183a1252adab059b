import Formats
import Imaging
import Storage
import SuperResolution

/// The whole method as one value: calibrates a model, plans its quantization, and writes the packed
/// file.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// var compressor = try Compressor(archive, recipe: .calibrated(bitWidth: 2))
/// try compressor.calibrate(with: .images("photos"))
/// let outcome = try compressor.write(to: "model.condi")
/// print(outcome.summary.fileByteCount)
/// ```
///
/// Without a calibration each weight is quantized on its own, and the model streams: one tensor per
/// thread is in memory. Otherwise the quantized model is in memory.
public struct Compressor: Sendable {
  /// The model in full precision.
  public let archive: TensorArchive
  /// The recipe by which the model is quantized. Calibration adds the digests of its material.
  public private(set) var recipe: Recipe
  /// Statistics of the activations; `nil` until the model is calibrated.
  package private(set) var calibration: Calibration?
  /// The changes to the model before it is quantized; the calibration is that of the changed model.
  private var equalization: ChannelEqualization?
  private var refiner: DistillationRefiner?
  private let name: String
  private let source: PackedHeader.Source?
  private let threads: Int
  private let report: @Sendable (CompressionEvent) -> Void

  /// Creates a compressor of a checkpoint.
  ///
  /// - Parameters:
  ///   - archive: the checkpoint, whose groups of tensors are assembled.
  ///   - root: the place of the weights in a nested checkpoint; by default the conventional one,
  ///     such as `params_ema`.
  ///   - threads: at least 1; no result depends on it.
  ///   - report: called as the work goes on, from any thread.
  /// - Throws: `ModelError` when there is nothing below `root` or a file cannot be read.
  public init(
    _ archive: TensorArchive, root: String? = nil, recipe: Recipe, threads: Int = 1,
    reporting report: @escaping @Sendable (CompressionEvent) -> Void = { _ in }
  ) throws {
    let root = root ?? archive.conventionalRoot
    let weights = try (root.map { try archive.selecting(root: $0) } ?? archive).assembled()
    self.init(
      weights: weights, recipe: recipe, name: archive.sourceFiles.first ?? "the model",
      source: try PackedHeader.Source(weights, root: root), threads: threads, reporting: report)
  }

  /// Creates a compressor of weights; nothing is read.
  ///
  /// - Parameters:
  ///   - archive: the weights, not nested.
  ///   - name: the model's name in errors, such as its path.
  ///   - source: the origin of the archive, for the packed file's header.
  ///   - threads: at least 1; no result depends on it.
  ///   - report: called as the work goes on, from any thread.
  package init(
    weights archive: TensorArchive, recipe: Recipe, name: String,
    source: PackedHeader.Source?, threads: Int,
    reporting report: @escaping @Sendable (CompressionEvent) -> Void = { _ in }
  ) {
    self.archive = archive
    self.recipe = recipe
    self.name = name
    self.source = source
    self.threads = threads
    self.report = report
  }

  /// The material with which a model is calibrated and distilled.
  public struct Material: Sendable {
    /// The path of an archive of statistics, as `calibrate` writes it.
    public var statistics: String?
    /// A folder of images to calibrate on and to learn from.
    public var images: String?
    /// A folder of images to compare on while learning; by default other patches of `images`.
    public var validation: String?
    /// The path of the file that keeps the state of the distillation.
    public var checkpoint: String?
    /// How the statistics are accessed.
    public var access: InputFile.Access

    public init(
      statistics: String? = nil, images: String? = nil, validation: String? = nil,
      checkpoint: String? = nil, access: InputFile.Access = .mapped
    ) {
      self.statistics = statistics
      self.images = images
      self.validation = validation
      self.checkpoint = checkpoint
      self.access = access
    }

    /// Returns the images of a folder.
    public static func images(_ folder: String) -> Material { Material(images: folder) }
  }

  /// Reads statistics of the activations, or records them by running the model as the recipe's
  /// method requires.
  ///
  /// Does nothing if the method rounds to nearest, or the material holds neither statistics nor images.
  ///
  /// - Throws: `ModelError` when the recipe is for another calibration, the model cannot be run or
  ///   trained, or a file cannot be read.
  public mutating func calibrate(with material: Material) throws {
    let settings = recipe.method
    guard settings.method != .nearest else { return }
    if let path = material.statistics {
      try recipe.method.calibration?.identify(
        InputFile(path: path, access: material.access).sha256(), as: "statistics")
      calibration = try Calibration(contentsOf: path, access: material.access)
      return
    }
    guard let folder = material.images, let patches = settings.calibration?.patches else { return }
    let network = try network(of: archive)
    for remark in network.remarks { report(.remark("\(name): \(remark)")) }
    func images(in folder: String) throws -> ImageFolder {
      try ImageFolder(
        folder: folder, scale: network.scale, channelCount: network.channelCount,
        isLowResolution: patches.isLowResolution)
    }
    let samples = try images(in: folder)
    try recipe.method.calibration?.identify(samples.sha256(), as: "images")
    if let distillation = settings.distillation {
      let validation = try material.validation.map(images)
      if let validation {
        try recipe.method.distillation?.identify(validation: validation.sha256())
      } else if distillation.validationDigest != nil {
        throw ModelError("the recipe compares on other images, which are not given")
          .offering(.validationImages)
      }
      refiner = DistillationRefiner(
        DistillationSettings(distillation, for: settings.method, threads: threads),
        images: samples, validation: validation, checkpoint: material.checkpoint,
        report: { [report] in report(.distilling($0)) },
        remark: { [report, name] in report(.remark("\(name): \($0)")) })
    }
    var run = try NetworkCalibration(
      network: network, plan: QuantizationPlan(allowingNothing: archive, recipe: recipe),
      images: samples, patches: patches, search: settings.method.search,
      scaling: settings.scaling, threads: threads
    ) { [report] in report(.calibrating(doneCount: $0, count: $1)) }
    try locatingErrors(path: name) {
      guard recipe.equalizes else {
        calibration = try run.calibration()
        return
      }
      let equalization = try ChannelEqualization(
        archive, plan: QuantizationPlan(archive, recipe: recipe), sites: network.sites,
        calibration: run.calibration())
      run.bitWidths = recipe.measuredBitWidths
      run.network = try self.network(of: equalization.applied(to: archive))
      calibration = try run.calibration()
      self.equalization = equalization
    }
  }

  private func network(of archive: TensorArchive) throws -> SuperResolutionNetwork {
    try locatingErrors(path: name) {
      try SuperResolutionNetwork(archive, name: name, threads: threads)
    }
  }

  /// Plans the packed file and, if the recipe has a budget, measures the value of each layer's
  /// bits; nothing is written.
  ///
  /// - Throws: `ModelError` when the recipe, the calibration or the budget does not fit the model,
  ///   or a tensor cannot be read.
  public func plan() throws -> CompressionPlan {
    var refine: CompressionPlan.Refinement?
    if let refiner { refine = { try refiner.refined($0, original: $1) } }
    return try CompressionPlan(
      archive, recipe: recipe, calibration: calibration, equalization: equalization,
      refining: refine, source: source, threads: threads)
  }

  /// Quantizes the model and writes the packed file, which appears whole at `path` or not at all.
  ///
  /// - Parameter replacesExisting: whether to replace an existing file, which is an error
  ///   otherwise.
  /// - Returns: the cost of quantizing each tensor and the size of the file.
  /// - Throws: `ModelError` as `plan()` does, and when writing fails.
  @discardableResult
  public func write(
    to path: String, replacesExisting: Bool = false
  ) throws -> CompressionOutcome {
    try plan().write(to: path, replacesExisting: replacesExisting) { [report] in
      report(.packing(tensor: $0, byteCount: $1))
    }
  }

  /// Whether the quantized model is distilled.
  var distills: Bool { refiner != nil }
}

/// An event in the work of a compressor.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// let compressor = try Compressor(archive, recipe: .named("body")) { event in
///   if case .packing(let tensor, let byteCount) = event { print(tensor, byteCount) }
/// }
/// try compressor.write(to: "model.condi")
/// ```
public enum CompressionEvent: Sendable {
  /// A remark about the model.
  case remark(String)
  /// A calibration sample was run.
  case calibrating(doneCount: Int, count: Int)
  /// A step of the distillation was taken.
  case distilling(DistillationProgress)
  /// A tensor was packed.
  case packing(tensor: String, byteCount: Int)
}

extension Recipe {
  /// Whether the method equalizes channels before it quantizes them together.
  fileprivate var equalizes: Bool { !measuredBitWidths.isEmpty }

  /// The bit widths at which calibration measures quantized inputs, for methods that use it.
  fileprivate var measuredBitWidths: [Int] {
    guard method.method.isErrorAware, method.quantizesActivations else { return [] }
    return [method.activationBitWidth ?? defaults.bitWidth]
  }
}
