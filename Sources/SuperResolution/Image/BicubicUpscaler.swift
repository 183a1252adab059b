import Imaging

/// The baseline that every super-resolution model must beat.
///
/// ```swift
/// let image = try RasterImage(contentsOf: "photo.png")
/// let large = try RasterUpscaling(BicubicUpscaler(scale: 4)).upscale(image)
/// print(large.sizeText)
/// ```
public struct BicubicUpscaler: Upscaler {
  /// The factor by which each side is upscaled.
  public let scale: Int
  /// The bit depth to which samples are rounded after each pass, as in MATLAB for images from
  /// files; `nil` for no rounding.
  public let bitDepth: RasterImage.BitDepth?

  /// The name `bicubic`.
  public var name: String { "bicubic" }
  /// Always `nil`: any number of channels is accepted.
  public var requiredChannelCount: Int? { nil }

  /// Creates a bicubic upscaler with an integer factor.
  ///
  /// - Precondition: `scale` is positive.
  public init(scale: Int, bitDepth: RasterImage.BitDepth? = nil) {
    precondition(scale > 0, "a scale is positive")
    self.scale = scale
    self.bitDepth = bitDepth
  }

  public func upscale(_ image: Image, progress: (@Sendable (Double) -> Void)?) throws
    -> Image
  {
    defer { progress?(1) }
    return rows(0..<image.height * scale, of: image)
  }

  /// Calls `body` with bands of about a million pixels.
  public func upscaleBands(
    of image: Image, progress: (@Sendable (Double) -> Void)?, _ body: (_ band: Image) throws -> Void
  ) throws {
    let height = image.height * scale
    let bandHeight = max(1, (1 << 20) / (image.width * scale))
    for first in stride(from: 0, to: height, by: bandHeight) {
      let end = min(height, first + bandHeight)
      try body(rows(first..<end, of: image))
      progress?(Double(end) / Double(height))
    }
  }

  private func rows(_ rows: Range<Int>, of image: Image) -> Image {
    BicubicResampling().upscaled(
      image, by: scale, rows: rows,
      bitDepth: image.channelCount == 1 || image.channelCount == 3 ? bitDepth : nil)
  }
}
