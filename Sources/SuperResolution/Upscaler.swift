import Imaging

/// Something that enlarges pictures by a whole factor: a network or an interpolation.
public protocol Upscaler: Sendable {
  /// What reports call it.
  var name: String { get }
  /// How many times as wide and high the result is.
  var scale: Int { get }
  /// The channels that a picture must have; `nil` when any number will do.
  var requiredChannelCount: Int? { get }

  /// The enlarged picture, as many channels as `picture`; samples may lie outside 0…1.
  ///
  /// - Parameter progress: called with the share of the work done, from 0 to 1, from any thread.
  /// - Throws: `ModelError` when the picture has too few pixels or another count of channels
  ///   than the model takes.
  func upscale(_ picture: Picture, progress: (@Sendable (Double) -> Void)?) throws -> Picture
}
