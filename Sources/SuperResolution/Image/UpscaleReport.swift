import Imaging

/// What upscaling image files gave.
package struct UpscaleReport: Codable, Hashable, Sendable {
  package static let currentSchemaVersion = 4

  /// The version of the JSON form, `schemas/upscale-report.schema.json`.
  package let schemaVersion: Int
  /// The path of the image, or of the folder of images.
  package let input: String
  /// The path of the model's file, or `bicubic`.
  package let model: String
  /// The bytes of the network's weights in memory; `nil` for interpolation.
  package let weightByteCount: Int?
  /// The images that were upscaled.
  package let images: [UpscaledImage]
  /// The images that could not be upscaled.
  package let failures: [Failure]

  /// An image that could not be upscaled.
  package struct Failure: Codable, Hashable, Sendable {
    package let input: String
    package let message: String

    package init(input: String, message: String) {
      self.input = input
      self.message = message
    }
  }

  package init(
    input: String, model: String, weightByteCount: Int?, images: [UpscaledImage],
    failures: [Failure] = []
  ) {
    schemaVersion = Self.currentSchemaVersion
    self.input = input
    self.model = model
    self.weightByteCount = weightByteCount
    self.images = images
    self.failures = failures
  }
}

/// An image file that was upscaled.
package struct UpscaledImage: Codable, Hashable, Sendable {
  /// The path of the input file.
  package let input: String
  /// The path of the output file.
  package let output: String
  /// The factor by which each side was upscaled.
  package let scale: Int
  /// The width of the result in pixels.
  package let width: Int
  /// The height of the result in pixels.
  package let height: Int
  /// The tiles in which a network upscaled it; `nil` for interpolation.
  package let tiles: TileChoice?
  /// Parts of the input that are missing from the output, with the reasons.
  package let omissions: [ImageOmission]
}
