/// A picture of real samples, nominally from 0 to 1, in planes.
public struct Picture: Hashable, Sendable {
  /// 1 grey or luma, 2 colour differences, 3 RGB.
  public let channelCount: Int
  /// Rows of pixels.
  public let height: Int
  /// Pixels of a row.
  public let width: Int
  /// `channelCount · height · width` samples: planes, in them rows from the top, in them pixels from
  /// the left.
  public var samples: [Float]

  /// A picture of planar samples `[channelCount, height, width]`.
  ///
  /// - Precondition: the counts are positive and agree.
  public init(channelCount: Int, height: Int, width: Int, samples: [Float]) {
    precondition(
      channelCount > 0 && height > 0 && width > 0
        && samples.count == channelCount * height * width,
      "\(samples.count) samples are not [\(channelCount), \(height), \(width)]")
    self.channelCount = channelCount
    self.height = height
    self.width = width
    self.samples = samples
  }
}

extension Picture {
  /// BT.601's luma of an RGB picture; of a grey picture the picture itself.
  package var luma: Picture {
    guard channelCount == 3 else { return self }
    let count = height * width
    let plane = (0..<count).map { pixel in
      0.299 * samples[pixel] + 0.587 * samples[count + pixel] + 0.114 * samples[2 * count + pixel]
    }
    return Picture(channelCount: 1, height: height, width: width, samples: plane)
  }
}
