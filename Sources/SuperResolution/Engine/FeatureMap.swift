/// The memory of a feature map.
final class FeatureBuffer: @unchecked Sendable {
  let count: Int
  fileprivate let start: UnsafeMutablePointer<Float>

  init(count: Int) {
    self.count = count
    start = .allocate(capacity: count)
  }

  deinit { start.deallocate() }
}

/// Features of an image's pixels, `[height, width, channels]`: the channels of a pixel are
/// contiguous.
///
/// The layers of one forward pass share a few maps. Threads write disjoint rows of pixels, so the
/// sharing is safe without locks.
final class FeatureMap: @unchecked Sendable {
  let height: Int
  let width: Int
  let channels: Int
  /// `height · width · channels` values, uninitialized at first.
  let values: UnsafeMutablePointer<Float>
  /// What holds the values.
  let buffer: FeatureBuffer

  /// - Precondition: the counts are positive, and their product is known not to overflow.
  convenience init(height: Int, width: Int, channels: Int) {
    self.init(
      height: height, width: width, channels: channels,
      in: FeatureBuffer(count: height * width * channels))
  }

  /// - Precondition: the buffer has at least as many floats as the map.
  init(height: Int, width: Int, channels: Int, in buffer: FeatureBuffer) {
    precondition(height * width * channels <= buffer.count, "a buffer of another size")
    self.height = height
    self.width = width
    self.channels = channels
    self.buffer = buffer
    values = buffer.start
  }

  var tokenCount: Int { height * width }
  var count: Int { tokenCount * channels }

  /// Returns the channels of pixel `token`; pixels are numbered row by row.
  func token(_ token: Int) -> UnsafeMutablePointer<Float> { values + token * channels }
}
