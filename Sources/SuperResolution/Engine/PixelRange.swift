import Imaging

/// The conversion of samples from 0 to 1 into a network's input: `(x − mean) · range`, with one
/// mean per channel.
struct PixelRange: Sendable {
  /// 1 or 255.
  let range: Float
  /// One entry per channel.
  let mean: [Float]

  /// Creates a range with the mean colour of the training set DIV2K for images of three channels,
  /// and a mean of zero for others.
  init(channelCount: Int, range: Float) {
    self.range = range
    mean =
      channelCount == 3
      ? [0.4488, 0.4371, 0.4040] : [Float](repeating: 0, count: channelCount)
  }

  /// Creates a range from 0 to 1 with a mean of its own.
  init(mean: [Float]) {
    self.mean = mean
    range = 1
  }

  /// Creates a range without a mean for images of `channelCount` channels.
  init(unshifted channelCount: Int, range: Float = 1) {
    mean = [Float](repeating: 0, count: channelCount)
    self.range = range
  }

  /// Returns the image with channels last, from `margin` rows and columns on, and extended to `height` ×
  /// `width`: mirrored at its edges, or by zeros.
  ///
  /// - Precondition: what is mirrored is smaller than the image.
  func features(
    of image: Image, height: Int, width: Int, margin: Int = 0, mirrors: Bool = true
  ) -> FeatureMap {
    /// The image pixel at each position along an axis; `nil` outside the image.
    func sources(_ count: Int, of side: Int) -> [Int?] {
      (0..<count).map { place in
        let source = place - margin
        if !mirrors { return (0..<side).contains(source) ? source : nil }
        precondition(source > -side && source < 2 * side - 1 || side == 1 && source == 0)
        return source < 0 ? -source : source < side ? source : 2 * (side - 1) - source
      }
    }
    let map = FeatureMap(height: height, width: width, channels: image.channelCount)
    let rows = sources(height, of: image.height)
    let columns = sources(width, of: image.width)
    for channel in 0..<image.channelCount {
      let mean = mean[channel]
      for (row, fromRow) in rows.enumerated() {
        let target = map.token(row * width) + channel
        let source = fromRow.map { (channel * image.height + $0) * image.width }
        for (column, fromColumn) in columns.enumerated() {
          guard let source, let fromColumn else {
            target[column * map.channels] = 0
            continue
          }
          target[column * map.channels] = (image.samples[source + fromColumn] - mean) * range
        }
      }
    }
    return map
  }

  /// Converts network output, `[rows, width, channels]`, to samples of an image, and stores the
  /// part inside `height` × `keptWidth`.
  func store(
    _ pixels: UnsafePointer<Float>, rows: Range<Int>, width: Int,
    in samples: UnsafeMutablePointer<Float>, height: Int, keptWidth: Int
  ) {
    for row in rows where row < height {
      for channel in mean.indices {
        let source = pixels + (row - rows.lowerBound) * width * mean.count + channel
        let target = samples + (channel * height + row) * keptWidth
        for column in 0..<keptWidth {
          target[column] = source[column * mean.count] / range + mean[channel]
        }
      }
    }
  }
}
