import Glibc
import Imaging
import Storage

/// Runs models over a data set and measures how well they restore it.
///
/// The measurements follow those of papers: results are rounded to 8 bits, high-resolution images
/// are cropped to a multiple of the scale, and luma is compared without a border of `scale` pixels.
///
/// ```swift
/// let set = try BenchmarkSet(folder: "Set5", scale: 2)
/// let archive = try FormatRegistry.standard.open("model.condi")
/// let network = try SuperResolutionNetwork(archive, name: "model", threads: 4)
/// let evaluation = try Evaluation(
///   set: set, models: [.init(name: network.name, upscaler: network)])
/// print(try evaluation.run().methods.map { ($0.name, $0.meanPSNR) })
/// ```
public struct Evaluation: Sendable {
  /// A model or an interpolation, with the name of its column.
  public struct Method: Sendable {
    /// The name in the report.
    public let name: String
    /// The model's file; `nil` for interpolation.
    public let path: String?
    /// The size of the file in bytes; `nil` for interpolation.
    public let fileByteCount: Int?
    /// The model or interpolation itself.
    public let upscaler: any Upscaler

    public init(
      name: String, path: String? = nil, fileByteCount: Int? = nil, upscaler: any Upscaler
    ) {
      self.name = name
      self.path = path
      self.fileByteCount = fileByteCount
      self.upscaler = upscaler
    }
  }

  /// The data set.
  package let set: BenchmarkSet
  /// The methods to compare, in the report's order.
  package let methods: [Method]
  /// The index of the method with which the others are compared.
  package let reference: Int
  private let regionLimit: Int
  /// Returns the memory that there is before each image; tests say how much.
  var availableMemory: @Sendable () -> AvailableMemory? = { .current() }

  /// Plans the comparison of `models` on `set`.
  ///
  /// - Parameters:
  ///   - models: the models to measure; the bicubic baseline is added before them.
  ///   - reference: the index in `methods`, the baseline being 0, of the method to compare with;
  ///     `nil` for the first model if there are several, and the baseline if there is one.
  ///   - regionLimit: the number of worst regions to keep.
  /// - Throws: `ModelError` when a model and the data set have different scales.
  /// - Precondition: `reference` is an index of `methods`.
  public init(
    set: BenchmarkSet, models: [Method], reference: Int? = nil, regionLimit: Int = 6
  ) throws {
    for model in models where model.upscaler.scale != set.scale {
      throw ModelError(
        "the model upscales \(model.upscaler.scale) times, and the data set is for \(set.scale)",
        path: model.path)
    }
    let baseline = BicubicUpscaler(scale: set.scale, bitDepth: .eight)
    self.set = set
    methods = [Method(name: baseline.name, upscaler: baseline)] + models
    self.reference = reference ?? (models.count > 1 ? 1 : 0)
    precondition(methods.indices.contains(self.reference), "there is no such method")
    self.regionLimit = regionLimit
  }

  /// Upscales every image of the set with every method, and measures the results. A network upscales
  /// an image in tiles where the whole would take more memory than there is.
  ///
  /// - Parameter progress: called with the completed share of the work, from 0 to 1, from any
  ///   thread.
  /// - Throws: `ModelError` with the file's path when an image cannot be read, is too small, does
  ///   not match its partner, or is not accepted by a model.
  public func run(progress: (@Sendable (Double) -> Void)? = nil) throws -> EvaluationReport {
    var images: [EvaluationReport.ImageScores] = []
    var regions: [EvaluationReport.Region] = []
    for (index, entry) in set.entries.enumerated() {
      let pair = try ImagePair(entry, scale: set.scale)
      let result = try measure(pair) { share in
        progress?((Double(index) + share) / Double(set.entries.count))
      }
      images.append(result.scores)
      regions += result.regions
    }
    let worst = regions.enumerated().sorted {
      $0.element.errorIncrease == $1.element.errorIncrease
        ? $0.offset < $1.offset : $0.element.errorIncrease > $1.element.errorIncrease
    }
    return EvaluationReport(
      dataset: set.path, scale: set.scale,
      lowResolution: set.degradedFolder != nil
        ? .degraded : set.entries.contains { $0.lowResolutionPath == nil } ? .bicubic : .files,
      degradedFolder: set.degradedFolder, methods: summaries(of: images), reference: reference,
      images: images,
      regions: worst.prefix(regionLimit).map(\.element))
  }

  private func measure(
    _ pair: ImagePair, progress: @escaping @Sendable (Double) -> Void
  ) throws -> (scores: EvaluationReport.ImageScores, regions: [EvaluationReport.Region]) {
    let highResolution = LumaPlane(of: pair.highResolution)
    var results: [RasterImage] = []
    var planes: [LumaPlane] = []
    var scores: [EvaluationReport.Score] = []
    for (index, method) in methods.enumerated() {
      let (upscaler, choice) = method.upscaler.tiled(
        for: pair.lowResolution, as: .png, within: availableMemory())
      let start = ContinuousClock.now
      let result = try pair.upscaled(by: upscaler) { share in
        progress((Double(index) + share) / Double(methods.count))
      }
      let seconds = (ContinuousClock.now - start) / .seconds(1)
      let plane = LumaPlane(of: result)
      let (psnr, ssim) = try pair.compare(plane, with: highResolution)
      scores.append(
        .init(
          psnr: psnr, ssim: ssim, seconds: seconds,
          tileCount: choice.flatMap { $0.tiles == nil ? nil : $0.count }))
      results.append(result)
      planes.append(plane)
    }
    let subject = EvaluationReport.subject(of: methods.count, reference: reference)
    let squares =
      subject.map {
        WorstRegions(scale: set.scale).find(
          highResolution: highResolution, reference: planes[reference], subject: planes[$0])
      } ?? []
    let regions = squares.map { square in
      EvaluationReport.Region(
        image: pair.name, x: square.x, y: square.y, width: square.side, height: square.side,
        psnr: planes.map { square.psnr(of: $0, against: highResolution) },
        errorIncrease: square.errorIncrease,
        crops: .init(
          highResolution: square.crop(pair.highResolution),
          lowResolution: square.crop(pair.lowResolution, by: set.scale),
          results: results.map { square.crop($0) }))
    }
    return (
      .init(
        name: pair.name, width: pair.highResolution.width, height: pair.highResolution.height,
        scores: scores), regions
    )
  }

  private func summaries(of images: [EvaluationReport.ImageScores])
    -> [EvaluationReport.Method]
  {
    func mean(_ values: [Double]) -> Double? {
      values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
    }
    func scores(_ index: Int) -> [EvaluationReport.Score] { images.map { $0.scores[index] } }
    func meanSSIM(_ index: Int) -> Double { mean(scores(index).map(\.ssim)) ?? .nan }
    return methods.enumerated().map { index, method in
      let own = scores(index)
      let gains = zip(own, scores(reference)).filter { !$0.isExact && !$1.isExact }
        .map { $0.psnr - $1.psnr }
      let isReference = index == reference
      return .init(
        name: method.name, path: method.path, fileByteCount: method.fileByteCount,
        weightByteCount: (method.upscaler as? SuperResolutionNetwork)?.weightByteCount,
        exactImages: zip(images, own).filter(\.1.isExact).map(\.0.name),
        meanPSNR: mean(own.filter { !$0.isExact }.map(\.psnr)), meanSSIM: meanSSIM(index),
        meanSeconds: mean(own.map(\.seconds)) ?? 0,
        gainPSNR: isReference ? nil : mean(gains),
        gainSSIM: isReference ? nil : meanSSIM(index) - meanSSIM(reference))
    }
  }
}

extension ImagePair {
  /// Returns the low-resolution image upscaled; errors of the upscaler name the image.
  ///
  /// - Parameter progress: called with the completed share, from 0 to 1, from any thread.
  func upscaled(
    by upscaler: any Upscaler, progress: @escaping @Sendable (Double) -> Void
  ) throws -> RasterImage {
    try locatingErrors {
      try RasterUpscaling(upscaler).upscale(lowResolution, progress: progress)
    }
  }
}
