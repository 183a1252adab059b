import Imaging

/// A method of upscaling images by an integer factor: a network or an interpolation.
///
/// ```swift
/// struct Nearest: Upscaler {
///   let name = "nearest"
///   let scale = 2
///   var requiredChannelCount: Int? { nil }
///
///   func upscale(_ image: Image, progress: (@Sendable (Double) -> Void)?) throws -> Image {
///     let (height, width) = (2 * image.height, 2 * image.width)
///     let samples = (0..<image.channelCount * height * width).map { index in
///       let (plane, row, column) = (index / (height * width), index / width % height, index % width)
///       return image.samples[(plane * image.height + row / 2) * image.width + column / 2]
///     }
///     return Image(
///       channelCount: image.channelCount, height: height, width: width, samples: samples)
///   }
/// }
/// ```
public protocol Upscaler: Sendable {
  /// The name in reports.
  var name: String { get }
  /// The factor by which each side is upscaled.
  var scale: Int { get }
  /// The channels that an image must have; `nil` when any number is accepted.
  var requiredChannelCount: Int? { get }

  /// Returns the upscaled image, with as many channels as `image`; samples may lie outside 0…1.
  ///
  /// - Parameter progress: called with the completed share of the work, from 0 to 1, from any
  ///   thread.
  /// - Throws: `ModelError` when the image has too few pixels, or a number of channels that the
  ///   model does not accept.
  func upscale(_ image: Image, progress: (@Sendable (Double) -> Void)?) throws -> Image

  /// Calls `body` with the upscaled image in bands of rows, from top to bottom; the bands together
  /// are what `upscale` returns. By default there is one band, the whole image.
  ///
  /// ```swift
  /// var rowCount = 0
  /// let image = try RasterImage(contentsOf: "photo.png").colorImage
  /// try BicubicUpscaler(scale: 4).upscaleBands(of: image, progress: nil) { rowCount += $0.height }
  /// print(rowCount)  // 4 times the height of the image
  /// ```
  ///
  /// - Throws: as `upscale` does, and the errors of `body`.
  func upscaleBands(
    of image: Image, progress: (@Sendable (Double) -> Void)?, _ body: (_ band: Image) throws -> Void
  ) throws
}

extension Upscaler {
  /// Calls `body` with the whole upscaled image.
  ///
  /// ```swift
  /// let image = try RasterImage(contentsOf: "photo.png").colorImage
  /// try BicubicUpscaler(scale: 2).upscaleBands(of: image, progress: nil) { print($0.height) }
  /// ```
  public func upscaleBands(
    of image: Image, progress: (@Sendable (Double) -> Void)?, _ body: (_ band: Image) throws -> Void
  ) throws {
    try body(try upscale(image, progress: progress))
  }
}
