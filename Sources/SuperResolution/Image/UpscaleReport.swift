import Imaging

/// The outcome of upscaling an image file.
package struct UpscaleReport: Codable, Hashable, Sendable {
  package static let currentSchemaVersion = 1

  /// The version of the JSON form, `schemas/upscale-report.schema.json`.
  package let schemaVersion: Int
  /// The path of the input file.
  package let input: String
  /// The path of the output file.
  package let output: String
  /// The path of the model's file, or `bicubic`.
  package let model: String
  /// The factor by which each side was upscaled.
  package let scale: Int
  /// The width of the result in pixels.
  package let width: Int
  /// The height of the result in pixels.
  package let height: Int
  /// Parts of the input that are missing from the output, with the reasons.
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
