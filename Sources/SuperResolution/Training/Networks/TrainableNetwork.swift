/// A network's forward pass on a tape.
protocol TrainableNetwork: Sendable {
  var channelCount: Int { get }
  var scale: Int { get }

  /// Images are mirrored at the right and lower edges up to multiples of this number.
  var paddingMultiple: Int { get }
  /// The conversion of samples into the network's range.
  var range: PixelRange { get }

  /// - Throws: `ModelError` when the network does not accept padded images of this size.
  func check(height: Int, width: Int) throws

  /// Returns the window layouts, which depend only on the size of an image.
  func layouts(height: Int, width: Int) -> [WindowLayout]

  /// - Parameters:
  ///   - pixels: `[height · width, channels]`, in the network's range.
  ///   - layouts: the result of `layouts(height:width:)`.
  /// - Returns: the upscaled pixels, in the network's range, and the features after each residual
  ///   group.
  func run(_ pixels: Variable, height: Int, _ layouts: [WindowLayout], _ tape: Tape) -> (
    output: Variable, groups: [Variable]
  )
}
