import Glibc
import Imaging

/// How well models restore a data set: PSNR and SSIM on luma, per picture and on average.
public struct EvaluationReport: Codable, Hashable, Sendable {
  package static let currentSchemaVersion = 2

  /// The version of the JSON form, `schemas/evaluation-report.schema.json`.
  public let schemaVersion: Int
  /// The data set's folder.
  public let dataset: String
  /// How many times models enlarge each side.
  public let scale: Int
  /// Pixels on every side that are not measured: as many as the scale.
  public let border: Int
  /// Where the pictures that models enlarge came from.
  public let lowResolution: LowResolution
  /// The bicubic baseline first, then the models in the order given.
  public let methods: [Method]
  /// The index in `methods` that differences are against.
  public let reference: Int
  /// What each method made of each picture, in the data set's order.
  public let pictures: [PictureScores]
  /// Where the last method that is not the reference loses most against it, the worst first.
  public let regions: [Region]

  package init(
    dataset: String, scale: Int, lowResolution: LowResolution, methods: [Method], reference: Int,
    pictures: [PictureScores], regions: [Region]
  ) {
    schemaVersion = Self.currentSchemaVersion
    self.dataset = dataset
    self.scale = scale
    border = scale
    self.lowResolution = lowResolution
    self.methods = methods
    self.reference = reference
    self.pictures = pictures
    self.regions = regions
  }

  /// The index of the method that `regions` are about: the last one but for the reference; `nil` when
  /// there is no other.
  package var subject: Int? { Self.subject(of: methods.count, reference: reference) }

  static func subject(of methodCount: Int, reference: Int) -> Int? {
    (0..<methodCount).last { $0 != reference }
  }

  /// What speaks against each model, one entry each: a mean PSNR of more than `limit` dB below the
  /// reference's, a picture that the reference alone reproduces exactly, or nothing to measure by. The
  /// baseline, which is no model, is left out.
  ///
  /// Pictures that both reproduce exactly show no difference, and decide nothing.
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
    let lost = other.exactPictures.filter { !model.exactPictures.contains($0) }
    if let first = lost.first {
      let more = lost.count > 1 ? " and \(lost.count - 1) more" : ""
      return "does not reproduce '\(first)'\(more) exactly, as \(other.name) does: "
        + "a loss without a bound"
    }
    guard let gain = model.gainPSNR else {
      // More exact than the reference wherever that is not: nothing is lost.
      guard model.exactPictures.count == other.exactPictures.count else { return nil }
      return "and \(other.name) reproduce every picture exactly, which leaves nothing to measure a "
        + "loss by"
    }
    // Comparisons with what is no number are false.
    guard !(-gain <= limit) else { return nil }
    return String(printf: "loses %.3f dB, more than the %g dB allowed", -gain, limit)
  }

  /// Where the small pictures came from.
  public enum LowResolution: String, Codable, Hashable, Sendable {
    /// Files of the data set.
    case files
    /// Made from the originals by bicubic reduction.
    case bicubic
  }

  /// One column: a model or the baseline.
  public struct Method: Codable, Hashable, Sendable {
    /// What the column is called.
    public let name: String
    /// The model's file; `nil` for an interpolation.
    public let path: String?
    /// The model file's length; `nil` for an interpolation.
    public let fileByteCount: Int?
    /// Names of the pictures that it reproduces exactly, as measured: their PSNR is infinite, and no
    /// part of a mean.
    public let exactPictures: [String]
    /// The mean of the other pictures' PSNR in dB; `nil` when there are none.
    public let meanPSNR: Double?
    /// The mean of all pictures' SSIM, at most 1.
    public let meanSSIM: Double
    /// The mean of the seconds that a picture took, reading and measuring left out.
    public let meanSeconds: Double
    /// The mean of what its PSNR is above the reference's, in dB, over the pictures that neither
    /// reproduces exactly; `nil` for the reference itself, and when there are none.
    public let gainPSNR: Double?
    /// `meanSSIM` less the reference's; `nil` for the reference itself.
    public let gainSSIM: Double?
  }

  /// One row: a picture of the data set.
  public struct PictureScores: Codable, Hashable, Sendable {
    /// The picture's name in the data set.
    public let name: String
    /// Columns of the original, cropped to a multiple of the scale.
    public let width: Int
    /// Rows of the original, cropped likewise.
    public let height: Int
    /// How well each method restored it, in the order of `methods`.
    public let scores: [Score]
  }

  /// How well one method restored one picture.
  public struct Score: Codable, Hashable, Sendable {
    /// The peak signal-to-noise ratio on luma, in dB; infinite for a picture that is restored
    /// exactly.
    public let psnr: Double
    /// The structural similarity on luma, at most 1; see `PictureFidelity`.
    public let ssim: Double
    /// How long the method took, reading and measuring left out.
    public let seconds: Double

    /// Whether nothing was lost, as measured.
    var isExact: Bool { psnr == .infinity }
  }

  /// A square of a picture, in pixels of the original.
  public struct Region: Codable, Hashable, Sendable {
    /// The picture's name in the data set.
    public let picture: String
    /// The left edge, in pixels from 0.
    public let x: Int
    /// The upper edge, in pixels from 0.
    public let y: Int
    /// Columns of pixels.
    public let width: Int
    /// Rows of pixels.
    public let height: Int
    /// The region's PSNR on luma in dB, in the order of `methods`.
    public let psnr: [Double]
    /// The subject's mean squared error on luma less the reference's.
    public let errorIncrease: Double
    /// How the region looks; not part of JSON.
    public var crops: Crops?

    private enum CodingKeys: String, CodingKey {
      case picture, x, y, width, height, psnr, errorIncrease
    }
  }

  /// Pictures of a region.
  public struct Crops: Hashable, Sendable {
    /// The region of the original.
    public let original: RasterImage
    /// The same region of the small picture, not enlarged.
    public let reduced: RasterImage
    /// What each method made of it, in the order of `methods`.
    public let results: [RasterImage]
  }
}
