import Imaging

/// The baseline that every super-resolution model must beat.
public struct BicubicUpscaler: Upscaler {
  /// How many times each side is enlarged.
  public let scale: Int
  /// Pictures of this depth are rounded after each pass, as MATLAB does with pictures from files; `nil`
  /// rounds nothing.
  public let bitDepth: RasterImage.BitDepth?

  /// `bicubic`.
  public var name: String { "bicubic" }
  /// `nil`: any number of channels.
  public var requiredChannelCount: Int? { nil }

  /// Bicubic enlargement by a whole number.
  ///
  /// - Precondition: `scale` is positive.
  public init(scale: Int, bitDepth: RasterImage.BitDepth? = nil) {
    precondition(scale > 0, "a scale is positive")
    self.scale = scale
    self.bitDepth = bitDepth
  }

  public func upscale(_ picture: Picture, progress: (@Sendable (Double) -> Void)?) throws
    -> Picture
  {
    defer { progress?(1) }
    guard let bitDepth, picture.channelCount == 1 || picture.channelCount == 3 else {
      return BicubicResampling().enlarged(picture, by: scale)
    }
    let image = RasterImage(color: picture, bitDepth: bitDepth)
    return BicubicResampling().enlarged(image, by: scale).colorPicture
  }
}
