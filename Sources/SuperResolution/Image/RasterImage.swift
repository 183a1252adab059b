/// A picture as files hold it: whole-number samples of 8 or 16 bits, pixel after pixel.
public struct RasterImage: Hashable, Sendable {
  /// Bits of a sample.
  public enum BitDepth: Int, Hashable, Sendable {
    /// Samples from 0 to 255.
    case eight = 8
    /// Samples from 0 to 65,535.
    case sixteen = 16

    /// The sample of full intensity: 255 or 65,535.
    public var maximum: Int { (1 << rawValue) - 1 }
  }

  /// The most pixels that are read or made: 134,217,728.
  public static let pixelLimit = 1 << 27

  /// Pixels of a row.
  public let width: Int
  /// Rows of pixels.
  public let height: Int
  /// 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
  public let channelCount: Int
  /// How many bits a sample has.
  public let bitDepth: BitDepth
  /// `height · width · channelCount` samples: rows from the top, in them pixels from the left, in
  /// them channels; each at most `bitDepth.maximum`.
  public private(set) var samples: [UInt16]
  /// What colours the samples mean and how large pixels are, where the file says.
  package var tags: ImageTags
  /// What else the file holds that the image was read from, with the reason why it is left out; empty for
  /// images that are made from others.
  package var omissions: [ImageOmission] = []

  /// A picture of samples whose colours are sRGB's.
  ///
  /// - Parameters:
  ///   - channelCount: 1 to 4, as `channelCount` says.
  ///   - samples: `[height, width, channelCount]`, row-major; each at most `bitDepth.maximum`.
  /// - Precondition: the counts are positive and agree, there are at most four channels, and no sample
  ///   exceeds the maximum.
  public init(
    width: Int, height: Int, channelCount: Int, bitDepth: BitDepth, samples: [UInt16]
  ) {
    self.init(
      width: width, height: height, channelCount: channelCount, bitDepth: bitDepth,
      samples: samples, tags: ImageTags())
  }

  init(
    width: Int, height: Int, channelCount: Int, bitDepth: BitDepth, samples: [UInt16],
    tags: ImageTags
  ) {
    precondition(
      width > 0 && height > 0 && (1...4).contains(channelCount)
        && samples.count == width * height * channelCount,
      "\(samples.count) samples are not [\(height), \(width), \(channelCount)]")
    precondition(
      bitDepth == .sixteen || samples.allSatisfy { $0 <= 255 }, "a sample exceeds 8 bits")
    self.width = width
    self.height = height
    self.channelCount = channelCount
    self.bitDepth = bitDepth
    self.samples = samples
    self.tags = tags
  }

  /// Whether the last channel is opacity.
  public var hasAlpha: Bool { channelCount.isMultiple(of: 2) }
  /// 1 for grey, 3 for RGB; alpha is not counted.
  public var colorChannelCount: Int { channelCount > 2 ? 3 : 1 }

  /// Width and height for people, as in `512×288`.
  public var sizeText: String { "\(width)×\(height)" }
}

extension RasterImage {
  /// A part of the picture.
  ///
  /// - Precondition: the part has pixels and lies inside the picture.
  public func cropped(x: Int, y: Int, width: Int, height: Int) -> RasterImage {
    precondition(
      x >= 0 && y >= 0 && width > 0 && height > 0 && x + width <= self.width
        && y + height <= self.height, "the part does not lie inside the picture")
    guard width != self.width || height != self.height else { return self }
    var part: [UInt16] = []
    part.reserveCapacity(width * height * channelCount)
    for row in y..<y + height {
      let start = (row * self.width + x) * channelCount
      part += samples[start..<start + width * channelCount]
    }
    return RasterImage(
      width: width, height: height, channelCount: channelCount, bitDepth: bitDepth, samples: part,
      tags: tags)
  }

  /// The upper left part whose sides are multiples of `scale`; `nil` when a side is shorter than that.
  public func cropped(toMultipleOf scale: Int) -> RasterImage? {
    precondition(scale > 0, "a scale is positive")
    guard width >= scale, height >= scale else { return nil }
    return cropped(x: 0, y: 0, width: width / scale * scale, height: height / scale * scale)
  }

  /// The picture without its alpha channel.
  var withoutAlpha: RasterImage {
    guard hasAlpha else { return self }
    return selectingChannels(Array(0..<channelCount - 1))
  }

  /// The picture with three equal channels where it is grey, without alpha.
  var asRGB: RasterImage {
    channelCount == 3 ? self : selectingChannels(channelCount == 4 ? [0, 1, 2] : [0, 0, 0])
  }

  /// The picture with 8 bits a sample: `v · 255 / 65,535` rounded to the nearest.
  var asEightBit: RasterImage {
    guard bitDepth == .sixteen else { return self }
    return RasterImage(
      width: width, height: height, channelCount: channelCount, bitDepth: .eight,
      samples: samples.map { UInt16((Int($0) * 255 + 32_767) / 65_535) }, tags: tags)
  }

  private func selectingChannels(_ channels: [Int]) -> RasterImage {
    let count = width * height
    let selected = [UInt16](unsafeUninitializedCapacity: count * channels.count) { target, filled in
      samples.withUnsafeBufferPointer { source in
        for pixel in 0..<count {
          for (index, channel) in channels.enumerated() {
            target[pixel * channels.count + index] = source[pixel * channelCount + channel]
          }
        }
      }
      filled = count * channels.count
    }
    return RasterImage(
      width: width, height: height, channelCount: channels.count, bitDepth: bitDepth,
      samples: selected, tags: tags)
  }
}
