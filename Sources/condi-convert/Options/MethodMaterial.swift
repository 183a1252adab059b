import Formats
import Glibc
import Imaging
import Storage
import SuperResolution
import Transform

/// What a recipe's method takes beside the model: statistics of activations, and what distils.
struct MethodMaterial {
  /// Where it comes from.
  struct Places {
    /// A file of statistics.
    var statistics: String?
    /// A folder of pictures to calibrate with and to learn from.
    var images: String?
    /// A folder of pictures to compare on.
    var validation: String?
    /// The file that keeps the state of the distillation.
    var checkpoint: String?
  }

  let calibration: Calibration?
  /// What the method changes of the model before it is quantized; the calibration is of the changed
  /// one.
  let equalization: ChannelEqualization?
  let refiner: DistillationRefiner?

  /// Reads statistics, or makes them by running the model as the recipe says.
  ///
  /// - Parameters:
  ///   - recipe: is told the digests of what is used; those that it has already must be the same.
  ///   - archive: the weights, not nested.
  ///   - path: of the model.
  /// - Throws: `ModelError` when the recipe is for another calibration; errors of reading.
  init(
    _ places: Places, for recipe: inout Recipe, archive: TensorArchive, path: String,
    common: CommonOptions
  ) throws {
    guard let settings = recipe.method else {
      (calibration, equalization, refiner) = (nil, nil, nil)
      return
    }
    if let file = places.statistics {
      try recipe.method?.calibration?.identify(
        InputFile(path: file, access: common.access).sha256(), as: "statistics")
      calibration = try Calibration(contentsOf: file, access: common.access)
      (equalization, refiner) = (nil, nil)
      return
    }
    guard let folder = places.images, let patches = settings.calibration?.patches else {
      (calibration, equalization, refiner) = (nil, nil, nil)
      return
    }
    let network = try locatingErrors(path: path) {
      try SuperResolutionNetwork(archive, name: path, threads: common.threads)
    }
    for remark in network.remarks { Console.note("\(path): \(remark)", unless: common.quiet) }
    func pictures(_ folder: String) throws -> ReducedPictures {
      try ReducedPictures(
        folder: folder, scale: network.scale, channelCount: network.channelCount,
        isSmall: patches.isSmall)
    }
    let images = try pictures(folder)
    try recipe.method?.calibration?.identify(images.sha256(), as: "pictures")
    if let distillation = settings.distillation {
      let validation = try places.validation.map(pictures)
      if let validation {
        try recipe.method?.distillation?.identify(validation: validation.sha256())
      } else if distillation.validationDigest != nil {
        throw ModelError("the recipe compares on pictures that --validation names")
      }
      refiner = Self.refiner(
        DistillationSettings(distillation, for: settings.method, threads: common.threads), images,
        validation: validation, checkpoint: places.checkpoint, common: common)
    } else {
      refiner = nil
    }
    var runs = NetworkCalibration(
      network: network, pictures: images, patches: patches, bitWidths: [],
      search: settings.method.search, scaling: settings.scaling, common: common)
    (calibration, equalization) = try locatingErrors(path: path) {
      guard recipe.equalizes else { return (try runs.run(), nil) }
      let equalization = try ChannelEqualization(
        archive, plan: QuantizationPlan(archive, recipe: recipe), sites: network.sites,
        calibration: runs.run())
      runs.bitWidths = recipe.measuredBitWidths
      runs.network = try SuperResolutionNetwork(
        equalization.applied(to: archive), name: path, threads: common.threads)
      return (try runs.run(), equalization)
    }
  }

  private static func refiner(
    _ settings: DistillationSettings, _ pictures: ReducedPictures, validation: ReducedPictures?,
    checkpoint: String?, common: CommonOptions
  ) -> DistillationRefiner {
    let bar = ShareProgress("distilling", isQuiet: common.quiet)
    return DistillationRefiner(
      settings, pictures: pictures, validation: validation, checkpoint: checkpoint
    ) { progress in
      let loss = String(printf: "%.4g", progress.loss)
      let psnr = String(printf: "%.2f", progress.psnr)
      bar.report(
        progress.share, detail: "step \(progress.stepCount), loss \(loss), \(psnr) dB")
    }
  }
}

extension Recipe {
  /// Whether the method brings channels nearer to one another before it quantizes them together.
  fileprivate var equalizes: Bool { !measuredBitWidths.isEmpty }

  /// Bits for which calibration measures what quantized inputs are like, for methods that use it.
  fileprivate var measuredBitWidths: [Int] {
    guard let method, method.method.isErrorAware, !method.isWeightsOnly else { return [] }
    return [method.activationBitWidth ?? defaults.bitWidth]
  }
}
