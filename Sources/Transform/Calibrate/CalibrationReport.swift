/// What a calibration was made from, and what it saw.
package struct CalibrationReport: Codable, Hashable, Sendable {
  package static let currentSchemaVersion = 1

  package let schemaVersion: Int
  package let model: String
  package let output: String
  /// The folder of pictures.
  package let images: String
  /// Pictures in it.
  package let pictureCount: Int
  package let patchCount: Int
  /// Pixels of a patch's side, before enlargement.
  package let patchSide: Int
  package let seed: UInt64
  /// Rows of inputs with moments, over all sites.
  package let rowCount: Int
  /// In the order of the forward pass.
  package let sites: [Site]

  package struct Site: Codable, Hashable, Sendable {
    package let name: String
    /// Values seen.
    package let valueCount: Int
    package let minimum: Double
    package let maximum: Double
    /// Values a row; `nil` where no moments were taken.
    package let columnCount: Int?
  }

  package init(
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
