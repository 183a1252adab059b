/// Features of a picture's pixels, `[height, width, channels]`: the channels of a pixel lie together.
///
/// The layers of one forward pass share a few of them. Threads write disjoint rows of pixels, so
/// the sharing is safe without locks.
final class FeatureMap: @unchecked Sendable {
  let height: Int
  let width: Int
  let channels: Int
  /// `height · width · channels` values, not set at first.
  let values: UnsafeMutablePointer<Float>

  /// - Precondition: the counts are positive and were checked to have a product that fits.
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

  /// Takes over all values of a map of the same shape.
  func copy(_ other: FeatureMap) {
    values.update(from: other.values, count: count)
  }

  /// The channels of the pixel number `token`, counted by rows.
  func token(_ token: Int) -> UnsafeMutablePointer<Float> { values + token * channels }
}
