import Imaging

/// What became of an image file that was enlarged.
package struct UpscaleReport: Codable, Hashable, Sendable {
  package static let currentSchemaVersion = 1

  /// The version of the JSON form, `schemas/upscale-report.schema.json`.
  package let schemaVersion: Int
  /// The image's file.
  package let input: String
  /// The file that was written.
  package let output: String
  /// The model's file, or `bicubic`.
  package let model: String
  /// How many times as wide and high the result is.
  package let scale: Int
  /// Pixels of a row of the result.
  package let width: Int
  /// Rows of the result.
  package let height: Int
  /// What the input holds and the output doesn't, with the reason.
  package let omissions: [ImageOmission]

  package init(
    input: String, output: String, model: String, scale: Int, result: RasterImage,
    omissions: [ImageOmission]
  ) {
    schemaVersion = Self.currentSchemaVersion
    self.input = input
    self.output = output
    self.model = model
    self.scale = scale
    width = result.width
    height = result.height
    self.omissions = omissions
  }
}
