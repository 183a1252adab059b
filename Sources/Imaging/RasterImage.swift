import Storage

/// An image as stored in files: integer samples of 8 or 16 bits, interleaved by pixel.
///
/// ```swift
/// let image = try RasterImage(contentsOf: "photo.jpg")
/// print(image.sizeText, image.channelCount, image.bitDepth.maximum)
/// let corner = image.cropped(x: 0, y: 0, width: 64, height: 64)
/// let png = try corner.encoded(as: .png)
/// print(png.count)
/// ```
public struct RasterImage: Hashable, Sendable {
  /// The number of bits per sample.
  public enum BitDepth: Int, Hashable, Sendable {
    /// Samples from 0 to 255.
    case eight = 8
    /// Samples from 0 to 65,535.
    case sixteen = 16

    /// The sample of full intensity: 255 or 65,535.
    public var maximum: Int { (1 << rawValue) - 1 }
  }

  /// The largest number of pixels in an image that is read or created: 134,217,728.
  public static let pixelLimit = 1 << 27

  /// The number of pixels per row.
  public let width: Int
  /// The number of rows.
  public let height: Int
  /// The number of channels: 1 for grey, 2 for grey and alpha, 3 for RGB, 4 for RGB and alpha.
  public let channelCount: Int
  /// The number of bits per sample.
  public let bitDepth: BitDepth
  /// The `height · width · channelCount` samples in row-major order, from the top left, with
  /// interleaved channels; each is at most `bitDepth.maximum`.
  public private(set) var samples: [UInt16]
  /// The colour space of the samples and the pixel density, if the file states them.
  package var tags: ImageTags
  /// Items of the source file that are dropped, and the reasons; empty for images derived from
  /// others.
  package var omissions: [ImageOmission] = []

  /// Creates an image with sRGB colours.
  ///
  /// - Parameters:
  ///   - channelCount: The number of channels, 1 to 4; see `channelCount`.
  ///   - samples: `[height, width, channelCount]`, row-major; each at most `bitDepth.maximum`.
  /// - Precondition: The counts are positive and agree, there are at most four channels, and no
  ///   sample exceeds the maximum.
  public init(
    width: Int, height: Int, channelCount: Int, bitDepth: BitDepth, samples: [UInt16]
  ) {
    self.init(
      width: width, height: height, channelCount: channelCount, bitDepth: bitDepth,
      samples: samples, tags: ImageTags())
  }

  package init(
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

  /// Whether the last channel is alpha.
  public var hasAlpha: Bool { channelCount.isMultiple(of: 2) }
  /// The number of colour channels, 1 for grey and 3 for RGB, not counting alpha.
  public var colorChannelCount: Int { channelCount > 2 ? 3 : 1 }

  /// The width and height as text, such as `512×288`.
  public var sizeText: String { "\(width)×\(height)" }
}

extension RasterImage {
  /// Returns a part of the image.
  ///
  /// - Precondition: The part is not empty and lies inside the image.
  public func cropped(x: Int, y: Int, width: Int, height: Int) -> RasterImage {
    precondition(
      x >= 0 && y >= 0 && width > 0 && height > 0 && x + width <= self.width
        && y + height <= self.height, "the part does not lie inside the image")
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

  /// Returns the upper left part whose sides are multiples of `scale`, or `nil` if a side is
  /// shorter than `scale`.
  public func cropped(toMultipleOf scale: Int) -> RasterImage? {
    precondition(scale > 0, "a scale is positive")
    guard width >= scale, height >= scale else { return nil }
    return cropped(x: 0, y: 0, width: width / scale * scale, height: height / scale * scale)
  }

  /// The image without its alpha channel.
  var withoutAlpha: RasterImage {
    guard hasAlpha else { return self }
    return selectingChannels(Array(0..<channelCount - 1))
  }

  /// The image with three channels and no alpha; grey becomes three equal channels.
  var asRGB: RasterImage {
    channelCount == 3 ? self : selectingChannels(channelCount == 4 ? [0, 1, 2] : [0, 0, 0])
  }

  /// The image with 8 bits per sample: `v · 255 / 65,535` rounded to nearest.
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

extension RasterImage {
  /// The colour channels as planes of real numbers from 0 to 1, without alpha.
  public var colorImage: Image {
    image(ofChannels: Array(0..<colorChannelCount))
  }

  /// The alpha channel as one plane of real numbers from 0 to 1; `nil` if there is none.
  public var alphaImage: Image? {
    hasAlpha ? image(ofChannels: [channelCount - 1]) : nil
  }

  private func image(ofChannels channels: [Int]) -> Image {
    let maximum = Float(bitDepth.maximum)
    let count = width * height
    let planes = [Float](unsafeUninitializedCapacity: channels.count * count) { target, filled in
      samples.withUnsafeBufferPointer { source in
        for (index, channel) in channels.enumerated() {
          for pixel in 0..<count {
            target[index * count + pixel] =
              Float(source[pixel * channelCount + channel]) / maximum
          }
        }
      }
      filled = channels.count * count
    }
    return Image(
      channelCount: channels.count, height: height, width: width, samples: planes)
  }

  /// Creates an image from real samples, clipped to 0…1 and rounded to nearest, halves up; NaN
  /// becomes 0.
  ///
  /// - Parameters:
  ///   - color: 1 or 3 channels.
  ///   - alpha: 1 channel with the same height and width.
  public init(color: Image, alpha: Image? = nil, bitDepth: BitDepth) {
    self.init(color: color, alpha: alpha, bitDepth: bitDepth, tags: ImageTags())
  }

  package init(color: Image, alpha: Image?, bitDepth: BitDepth, tags: ImageTags) {
    precondition(color.channelCount == 1 || color.channelCount == 3, "colours are grey or RGB")
    precondition(
      alpha.map { ($0.channelCount, $0.height, $0.width) == (1, color.height, color.width) }
        ?? true, "alpha is one plane of the image's size")
    let count = color.height * color.width
    let channelCount = color.channelCount + (alpha == nil ? 0 : 1)
    let maximum = Float(bitDepth.maximum)
    let samples = [UInt16](unsafeUninitializedCapacity: count * channelCount) { target, filled in
      for (planes, first) in [(color, 0)] + (alpha.map { [($0, color.channelCount)] } ?? []) {
        planes.samples.withUnsafeBufferPointer { source in
          for channel in 0..<planes.channelCount {
            for pixel in 0..<count {
              target[pixel * channelCount + first + channel] = Self.stored(
                source[channel * count + pixel], maximum: maximum)
            }
          }
        }
      }
      filled = count * channelCount
    }
    self.init(
      width: color.width, height: color.height, channelCount: channelCount, bitDepth: bitDepth,
      samples: samples, tags: tags)
  }
}

extension RasterImage {
  /// Returns a real sample clipped to 0…1, times `maximum`, rounded to nearest; NaN becomes 0.
  @inline(__always)
  static func stored(_ value: Float, maximum: Float) -> UInt16 {
    // Comparisons with NaN are false.
    let clipped = value > 0 ? min(value, 1) : 0
    return UInt16((clipped * maximum).rounded())
  }
}
