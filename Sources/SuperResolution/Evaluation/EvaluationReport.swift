/// How well models restore a data set: PSNR and SSIM on luma, per picture and on average.
public struct EvaluationReport: Codable, Hashable, Sendable {
  public static let currentSchemaVersion = 1

  public let schemaVersion: Int
  /// The data set's folder.
  public let dataset: String
  public let scale: Int
  /// Pixels on every side that are not measured: as many as the scale.
  public let border: Int
  public let lowResolution: LowResolution
  /// The bicubic baseline first, then the models in the order given.
  public let methods: [Method]
  /// The index in `methods` that differences are against.
  public let reference: Int
  public let pictures: [PictureScores]
  /// Where the `subject` loses most against the reference, the worst first.
  public let regions: [Region]

  public init(
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
  public var subject: Int? { Self.subject(of: methods.count, reference: reference) }

  static func subject(of methodCount: Int, reference: Int) -> Int? {
    (0..<methodCount).last { $0 != reference }
  }

  /// Where the small pictures came from.
  public enum LowResolution: String, Codable, Hashable, Sendable {
    case files
    /// Made from the originals by bicubic reduction.
    case bicubic
  }

  /// One column: a model or the baseline.
  public struct Method: Codable, Hashable, Sendable {
    public let name: String
    /// `nil` for an interpolation.
    public let path: String?
    public let fileByteCount: Int?
    /// In dB; infinite when every picture is restored exactly.
    public let meanPSNR: Double
    public let meanSSIM: Double
    public let meanSeconds: Double
    /// `meanPSNR` and `meanSSIM` less the reference's; `nil` for the reference itself.
    public let gainPSNR: Double?
    public let gainSSIM: Double?
  }

  /// One row: a picture of the data set.
  public struct PictureScores: Codable, Hashable, Sendable {
    public let name: String
    /// Of the original, cropped to a multiple of the scale.
    public let width: Int
    public let height: Int
    /// In the order of `methods`.
    public let scores: [Score]
  }

  public struct Score: Codable, Hashable, Sendable {
    /// In dB.
    public let psnr: Double
    public let ssim: Double
    /// How long the method took, reading and measuring left out.
    public let seconds: Double
  }

  /// A square of a picture, in pixels of the original.
  public struct Region: Codable, Hashable, Sendable {
    public let picture: String
    public let x: Int
    public let y: Int
    public let width: Int
    public let height: Int
    /// In dB, in the order of `methods`.
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
    public let original: RasterImage
    /// Not enlarged.
    public let reduced: RasterImage
    /// In the order of `methods`.
    public let results: [RasterImage]
  }
}
