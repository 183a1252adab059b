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

  /// - Precondition: the counts are positive, and their product is known not to overflow.
  init(height: Int, width: Int, channels: Int) {
    self.height = height
    self.width = width
    self.channels = channels
    values = .allocate(capacity: height * width * channels)
  }

  convenience init(copying other: FeatureMap) {
    self.init(height: other.height, width: other.width, channels: other.channels)
    copy(other)
  }

  deinit { values.deallocate() }

  var tokenCount: Int { height * width }
  var count: Int { tokenCount * channels }

  /// Copies all values from a map of the same shape.
  func copy(_ other: FeatureMap) {
    values.update(from: other.values, count: count)
  }

  /// Returns the channels of pixel `token`; pixels are numbered row by row.
  func token(_ token: Int) -> UnsafeMutablePointer<Float> { values + token * channels }
}
