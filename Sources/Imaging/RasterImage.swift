import Storage

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

extension RasterImage {
  /// The colours as planes of reals from 0 to 1, alpha left out.
  public var colorPicture: Picture {
    picture(ofChannels: Array(0..<colorChannelCount))
  }

  /// The opacity as one plane of reals from 0 to 1; `nil` without alpha.
  public var alphaPicture: Picture? {
    hasAlpha ? picture(ofChannels: [channelCount - 1]) : nil
  }

  private func picture(ofChannels channels: [Int]) -> Picture {
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
    return Picture(
      channelCount: channels.count, height: height, width: width, samples: planes)
  }

  /// Whole numbers from reals: clipped to 0…1, then rounded to the nearest, halves up; a NaN is 0.
  ///
  /// - Parameters:
  ///   - color: 1 or 3 channels.
  ///   - alpha: 1 channel of the same height and width.
  public init(color: Picture, alpha: Picture? = nil, bitDepth: BitDepth) {
    self.init(color: color, alpha: alpha, bitDepth: bitDepth, tags: ImageTags())
  }

  package init(color: Picture, alpha: Picture?, bitDepth: BitDepth, tags: ImageTags) {
    precondition(color.channelCount == 1 || color.channelCount == 3, "colours are grey or RGB")
    precondition(
      alpha.map { ($0.channelCount, $0.height, $0.width) == (1, color.height, color.width) }
        ?? true, "alpha is one plane of the picture's size")
    let count = color.height * color.width
    let channelCount = color.channelCount + (alpha == nil ? 0 : 1)
    let maximum = Float(bitDepth.maximum)
    let samples = [UInt16](unsafeUninitializedCapacity: count * channelCount) { target, filled in
      for (planes, first) in [(color, 0)] + (alpha.map { [($0, color.channelCount)] } ?? []) {
        planes.samples.withUnsafeBufferPointer { source in
          for channel in 0..<planes.channelCount {
            for pixel in 0..<count {
              let value = source[channel * count + pixel]
              // Comparisons with NaN are false.
              let clipped = value > 0 ? min(value, 1) : 0
              target[pixel * channelCount + first + channel] =
                UInt16((clipped * maximum).rounded())
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

/// The kinds of picture files that are read and written.
public enum ImageFormat: String, Sendable, CaseIterable {
  case png, jpeg

  /// The format that a file name's extension stands for: `.png`, `.jpg` or `.jpeg`, in any case.
  public init?(path: String) {
    let name = path.split(separator: "/").last ?? ""
    guard let dot = name.lastIndex(of: "."), dot > name.startIndex else { return nil }
    switch name[name.index(after: dot)...].lowercased() {
    case "png": self = .png
    case "jpg", "jpeg": self = .jpeg
    default: return nil
    }
  }

  /// Whether an image of this kind can be written, `scale` times as wide and high: to be asked before
  /// the work.
  ///
  /// - Throws: `ModelError` when the format cannot hold such an image.
  public func check(_ image: RasterImage, scale: Int = 1) throws {
    guard self == .jpeg else { return }
    if image.hasAlpha || image.bitDepth == .sixteen {
      throw ModelError(
        "a JPEG file holds neither alpha nor 16 bits a sample; write a PNG file instead")
    }
    let side = max(image.width, image.height).multipliedReportingOverflow(by: scale)
    if side.overflow || side.partialValue > JPEGCodec.sideLimit {
      throw ModelError(
        "a JPEG file has at most \(JPEGCodec.sideLimit) pixels a side; write a PNG file instead")
    }
  }

  /// The image with those of its tags that a file of this format can hold, and what was left out for
  /// that.
  package func fitted(_ image: RasterImage) -> (image: RasterImage, omissions: [ImageOmission]) {
    var fitted = image
    switch self {
    case .jpeg:
      let (tags, omissions) = JPEGCodec.fitted(image.tags, channelCount: image.colorChannelCount)
      fitted.tags = tags
      return (fitted, omissions)
    case .png:
      guard image.tags.profile != nil else { return (image, []) }
      // libpng is stricter with the colour profiles that it writes than with those that it reads; an
      // image of one pixel tells what it says.
      do {
        _ = try PNGCodec.encode(
          RasterImage(
            width: 1, height: 1, channelCount: image.channelCount, bitDepth: image.bitDepth,
            samples: [UInt16](repeating: 0, count: image.channelCount), tags: image.tags))
        return (image, [])
      } catch {
        fitted.tags.profile = nil
        let reason = (error as? ModelError).map { "\($0.problem)" } ?? "\(error)"
        return (fitted, [ImageOmission("the colour profile", reason)])
      }
    }
  }
}

extension RasterImage {
  /// Reads a PNG or JPEG file, which of them by its first bytes.
  ///
  /// - Throws: `ModelError` without a path when the bytes are neither, damaged, cut off, or
  ///   exceed `pixelLimit`.
  public init(parsing bytes: SharedBytes) throws {
    let start = bytes.slice(0..<min(bytes.count, PNGCodec.signature.count)).array
    if start == PNGCodec.signature {
      self = try PNGCodec.decode(bytes)
    } else if start.starts(with: JPEGCodec.signature) {
      self = try JPEGCodec.decode(bytes)
    } else {
      throw ModelError(
        bytes.isEmpty ? "it is empty, no picture" : "it is neither a PNG nor a JPEG file")
    }
  }

  /// Reads a PNG or JPEG file, recognized by its content.
  ///
  /// - Throws: `ModelError` with the path when the file cannot be read, or holds no picture that can
  ///   be.
  public init(contentsOf path: String, access: InputFile.Access = .mapped) throws {
    let file = try InputFile(path: path, access: access)
    let bytes = try file.bytes(at: 0, count: file.byteCount, purpose: "a picture")
    do {
      try self.init(parsing: bytes)
    } catch let error as ModelError {
      // What is wrong with missing pages is that they are missing.
      try SignalHandlers.checkInputs()
      throw error.located(path: path)
    }
  }

  /// The image as a file of `format`, with as much of what is known of its colours as that can hold.
  ///
  /// - Parameter quality: of JPEG, 1 to 100.
  /// - Throws: `ModelError` when the format cannot hold the image.
  public func encoded(as format: ImageFormat, quality: Int = 95) throws -> SharedBytes {
    try format.check(self)
    let image = format.fitted(self).image
    switch format {
    case .png: return try PNGCodec.encode(image)
    case .jpeg: return try JPEGCodec.encode(image, quality: quality)
    }
  }
}
