/// What a calibration was made from, and what it saw.
public struct CalibrationReport: Codable, Hashable, Sendable {
  public static let currentSchemaVersion = 1

  public let schemaVersion: Int
  public let model: String
  public let output: String
  /// The folder of pictures.
  public let images: String
  /// Pictures in it.
  public let pictureCount: Int
  public let patchCount: Int
  /// Pixels of a patch's side, before enlargement.
  public let patchSide: Int
  public let seed: UInt64
  /// Rows of inputs with moments, over all sites.
  public let rowCount: Int
  /// In the order of the forward pass.
  public let sites: [Site]

  public struct Site: Codable, Hashable, Sendable {
    public let name: String
    /// Values seen.
    public let valueCount: Int
    public let minimum: Double
    public let maximum: Double
    /// Values a row; `nil` where no moments were taken.
    public let columnCount: Int?
  }

  public init(
    model: String, output: String, images: String, pictureCount: Int, patchCount: Int,
    patchSide: Int, seed: UInt64, calibration: Calibration
  ) {
    schemaVersion = Self.currentSchemaVersion
    self.model = model
    self.output = output
    self.images = images
    self.pictureCount = pictureCount
    self.patchCount = patchCount
    self.patchSide = patchSide
    self.seed = seed
    sites = calibration.sites.map { name, site in
      Site(
        name: name, valueCount: site.histogram.count, minimum: site.histogram.minimum,
        maximum: site.histogram.maximum, columnCount: site.moments?.columnCount)
    }
    rowCount = sites.reduce(0) { sum, site in
      sum + (site.columnCount.map { site.valueCount / max(1, $0) } ?? 0)
    }
  }
}
