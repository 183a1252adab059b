/// A network's forward pass on a tape.
protocol TrainableNetwork: Sendable {
  var channelCount: Int { get }
  var scale: Int { get }

  /// Pictures are mirrored at the right and lower edge up to multiples of this.
  var paddingMultiple: Int { get }
  /// How samples of pictures become the network's.
  var range: PixelRange { get }

  /// - Throws: `ModelError` when pictures of that size, padded, cannot be taken.
  func check(height: Int, width: Int) throws

  /// What depends on a picture's size alone.
  func layouts(height: Int, width: Int) -> [WindowLayout]

  /// - Parameters:
  ///   - pixels: `[height · width, channels]`, in the network's range.
  ///   - layouts: what `layouts(height:width:)` gave.
  /// - Returns: the enlarged pixels, in the network's range, and the features after each residual
  ///   group.
  func run(_ pixels: Variable, height: Int, _ layouts: [WindowLayout], _ tape: Tape) -> (
    output: Variable, groups: [Variable]
  )
}
