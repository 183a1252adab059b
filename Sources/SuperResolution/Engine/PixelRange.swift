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

  /// Returns the image with channels last, mirrored at the right and lower edges up to `height` ×
  /// `width`, or extended by zeros.
  ///
  /// - Precondition: what is mirrored is smaller than the image.
  func features(
    of image: Image, height: Int, width: Int, mirrors: Bool = true
  ) -> FeatureMap {
    precondition(!mirrors || height < 2 * image.height && width < 2 * image.width)
    let map = FeatureMap(height: height, width: width, channels: image.channelCount)
    for channel in 0..<image.channelCount {
      for row in 0..<height {
        let mirrored = row < image.height ? row : 2 * (image.height - 1) - row
        let source = (channel * image.height + mirrored) * image.width
        let target = map.token(row * width) + channel
        for column in 0..<width {
          guard mirrors || row < image.height && column < image.width else {
            target[column * map.channels] = 0
            continue
          }
          let from = column < image.width ? column : 2 * (image.width - 1) - column
          target[column * map.channels] = (image.samples[source + from] - mean[channel]) * range
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
