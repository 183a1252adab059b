import Glibc
import Imaging

/// The result of an evaluation: PSNR and SSIM on luma, per image and on average.
///
/// ```swift
/// let set = try BenchmarkSet(folder: "Set5", scale: 2)
/// let archive = try FormatRegistry.standard.open("model.condi")
/// let network = try SuperResolutionNetwork(archive, name: "model", threads: 4)
/// let report = try Evaluation(
///   set: set, models: [.init(name: network.name, upscaler: network)]
/// ).run()
/// for image in report.images { print(image.name) }
/// ```
public struct EvaluationReport: Codable, Hashable, Sendable {
  package static let currentSchemaVersion = 6

  /// The version of the JSON form, `schemas/evaluation-report.schema.json`.
  public let schemaVersion: Int
  /// The data set's folder.
  public let dataset: String
  /// The factor by which models upscale each side.
  public let scale: Int
  /// Pixels on every side that are not measured: as many as the scale.
  public let border: Int
  /// The source of the low-resolution images.
  public let lowResolution: LowResolution
  /// The folder of the degraded images; `nil` for another source.
  public let degradedFolder: String?
  /// The bicubic baseline, followed by the models in the order given.
  public let methods: [Method]
  /// The index in `methods` of the method with which the others are compared.
  public let reference: Int
  /// The scores of each image, in the data set's order.
  public let images: [ImageScores]
  /// The regions in which the last method other than the reference loses most against it, the worst
  /// first.
  public let regions: [Region]

  package init(
    dataset: String, scale: Int, lowResolution: LowResolution, degradedFolder: String? = nil,
    methods: [Method], reference: Int, images: [ImageScores], regions: [Region]
  ) {
    schemaVersion = Self.currentSchemaVersion
    self.dataset = dataset
    self.scale = scale
    border = scale
    self.lowResolution = lowResolution
    self.degradedFolder = degradedFolder
    self.methods = methods
    self.reference = reference
    self.images = images
    self.regions = regions
  }

  /// The index of the method that `regions` are about: the last one other than the reference; `nil`
  /// when there is no other.
  package var subject: Int? { Self.subject(of: methods.count, reference: reference) }

  static func subject(of methodCount: Int, reference: Int) -> Int? {
    (0..<methodCount).last { $0 != reference }
  }

  /// Returns the objections to models, at most one per model: a mean PSNR more than `limit` dB
  /// below the reference's, an image that only the reference reproduces exactly, or nothing to
  /// measure a loss by. The baseline is not a model and is left out.
  ///
  /// Images that both methods reproduce exactly show no difference and are ignored.
  package func objections(toLossesAbove limit: Double) -> [(name: String, reason: String)] {
    methods.indices.compactMap { index in
      guard index != reference, methods[index].path != nil,
        let reason = objection(to: index, limit: limit)
      else { return nil }
      return (methods[index].name, reason)
    }
  }

  private func objection(to index: Int, limit: Double) -> String? {
    let (model, other) = (methods[index], methods[reference])
    let lost = other.exactImages.filter { !model.exactImages.contains($0) }
    if let first = lost.first {
      let more = lost.count > 1 ? " and \(lost.count - 1) more" : ""
      return "does not reproduce '\(first)'\(more) exactly, as \(other.name) does: "
        + "a loss without a bound"
    }
    guard let gain = model.gainPSNR else {
      // The model is exact wherever the reference is not, so nothing is lost.
      guard model.exactImages.count == other.exactImages.count else { return nil }
      return "and \(other.name) reproduce every image exactly, which leaves nothing to measure a "
        + "loss by"
    }
    // A comparison with NaN is false, so a NaN gain is an objection.
    guard !(-gain <= limit) else { return nil }
    return String(printf: "loses %.3f dB, more than the %g dB allowed", -gain, limit)
  }

  /// The source of low-resolution images.
  public enum LowResolution: String, Codable, Hashable, Sendable {
    /// Files of the data set.
    case files
    /// Downscaled from the high-resolution images by bicubic interpolation.
    case bicubic
    /// Files of a folder of degraded images.
    case degraded
  }

  /// One column: a model or the baseline.
  public struct Method: Codable, Hashable, Sendable {
    /// The name in the column's header.
    public let name: String
    /// The model's file; `nil` for an interpolation.
    public let path: String?
    /// The size of the model file in bytes; `nil` for an interpolation.
    public let fileByteCount: Int?
    /// The bytes of the model's weights in memory; `nil` for an interpolation.
    public let weightByteCount: Int?
    /// The names of the images that the method reproduces exactly, as measured. Their PSNR is
    /// infinite, and they are excluded from its means.
    public let exactImages: [String]
    /// The mean PSNR of the other images in dB; `nil` when there are none.
    public let meanPSNR: Double?
    /// The mean SSIM of all images, at most 1.
    public let meanSSIM: Double
    /// The mean seconds per image, without reading and measuring.
    public let meanSeconds: Double
    /// The mean gain in PSNR over the reference, in dB, on the images that neither reproduces
    /// exactly; `nil` for the reference itself, and when there are no such images.
    public let gainPSNR: Double?
    /// `meanSSIM` minus the reference's; `nil` for the reference itself.
    public let gainSSIM: Double?
  }

  /// One row: an image of the data set.
  public struct ImageScores: Codable, Hashable, Sendable {
    /// The image's name in the data set.
    public let name: String
    /// The high-resolution image's width, cropped to a multiple of the scale.
    public let width: Int
    /// The high-resolution image's height, cropped in the same way.
    public let height: Int
    /// The score of each method, in the order of `methods`.
    public let scores: [Score]
  }

  /// How well one method restored one image.
  public struct Score: Codable, Hashable, Sendable {
    /// The peak signal-to-noise ratio on luma, in dB; infinite for an image that is restored
    /// exactly.
    public let psnr: Double
    /// The structural similarity on luma, at most 1; see `ImageFidelity`.
    public let ssim: Double
    /// The seconds that the method took, without reading and measuring.
    public let seconds: Double
    /// The number of tiles in which a network upscaled the image for want of memory; `nil` where it
    /// was upscaled whole.
    public let tileCount: Int?

    /// Whether the image was restored exactly, as measured.
    var isExact: Bool { psnr == .infinity }
  }

  /// A square of an image, in pixels of the high-resolution image.
  public struct Region: Codable, Hashable, Sendable {
    /// The image's name in the data set.
    public let image: String
    /// The left edge, in pixels from 0.
    public let x: Int
    /// The upper edge, in pixels from 0.
    public let y: Int
    /// The width in pixels.
    public let width: Int
    /// The height in pixels.
    public let height: Int
    /// The region's PSNR on luma in dB, in the order of `methods`.
    public let psnr: [Double]
    /// The subject's mean squared error on luma minus the reference's.
    public let errorIncrease: Double
    /// The region's pixels; not part of the JSON form.
    public var crops: Crops?

    private enum CodingKeys: String, CodingKey {
      case image, x, y, width, height, psnr, errorIncrease
    }
  }

  /// The pixels of a region.
  public struct Crops: Hashable, Sendable {
    /// The region of the high-resolution image.
    public let highResolution: RasterImage
    /// The same region of the low-resolution image, not upscaled.
    public let lowResolution: RasterImage
    /// The same region of each method's result, in the order of `methods`.
    public let results: [RasterImage]
  }
}
