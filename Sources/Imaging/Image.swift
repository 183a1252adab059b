/// An image of real samples, nominally from 0 to 1, stored as planes.
///
/// ```swift
/// let grey = Image(channelCount: 1, height: 2, width: 2, samples: [0, 0.25, 0.5, 1])
/// print(RasterImage(color: grey, bitDepth: .eight).samples)  // [0, 64, 128, 255]
/// ```
public struct Image: Hashable, Sendable {
  /// The number of channels: 1 for grey or luma, 2 for colour differences, 3 for RGB.
  public let channelCount: Int
  /// The number of rows.
  public let height: Int
  /// The number of pixels per row.
  public let width: Int
  /// The `channelCount · height · width` samples: one plane per channel, each row-major from the
  /// top left.
  public var samples: [Float]

  /// Creates an image from planar samples `[channelCount, height, width]`.
  ///
  /// - Precondition: The counts are positive and agree.
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

extension Image {
  /// BT.601's luma of an RGB image; other images are returned unchanged.
  package var luma: Image {
    guard channelCount == 3 else { return self }
    let count = height * width
    let plane = (0..<count).map { pixel in
      0.299 * samples[pixel] + 0.587 * samples[count + pixel] + 0.114 * samples[2 * count + pixel]
    }
    return Image(channelCount: 1, height: height, width: width, samples: plane)
  }
}
