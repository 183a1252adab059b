extension BicubicResampling {
  /// The picture `scale` times smaller, rounded after each pass as MATLAB's `imresize(x, 1/scale)` does
  /// for `uint8` and `uint16`: how the low-resolution pictures of the benchmarks are made.
  ///
  /// - Precondition: both sides are multiples of `scale`; `RasterImage.cropped(toMultipleOf:)`.
  public func reduced(_ image: RasterImage, by scale: Int) -> RasterImage {
    precondition(
      scale > 0 && image.width.isMultiple(of: scale) && image.height.isMultiple(of: scale),
      "\(image.sizeText) pixels are no multiple of \(scale)")
    return resized(
      image, width: image.width / scale, height: image.height / scale, factor: 1 / Double(scale))
  }

  /// The picture `scale` times larger, rounded after each pass as MATLAB does for integer classes.
  public func enlarged(_ image: RasterImage, by scale: Int) -> RasterImage {
    precondition(scale > 0, "a scale is positive")
    return resized(
      image, width: image.width * scale, height: image.height * scale, factor: Double(scale))
  }

  /// The picture `scale` times larger, nothing rounded; samples may leave 0…1 at sharp edges.
  public func enlarged(_ picture: Picture, by scale: Int) -> Picture {
    precondition(scale > 0, "a scale is positive")
    let (height, width) = (picture.height * scale, picture.width * scale)
    let count = picture.height * picture.width
    var samples: [Float] = []
    samples.reserveCapacity(picture.channelCount * height * width)
    for channel in 0..<picture.channelCount {
      let plane = picture.samples[channel * count..<(channel + 1) * count].map(Double.init)
      samples += resample(
        plane, height: picture.height, width: picture.width, outputHeight: height,
        outputWidth: width, factor: Double(scale), roundingUpTo: nil
      ).map(Float.init)
    }
    return Picture(
      channelCount: picture.channelCount, height: height, width: width, samples: samples)
  }

  private func resized(_ image: RasterImage, width: Int, height: Int, factor: Double)
    -> RasterImage
  {
    let channelCount = image.channelCount
    let count = image.width * image.height
    var samples = [UInt16](repeating: 0, count: width * height * channelCount)
    for channel in 0..<channelCount {
      let plane = image.samples.withUnsafeBufferPointer { source in
        [Double](unsafeUninitializedCapacity: count) { target, filled in
          for pixel in 0..<count { target[pixel] = Double(source[pixel * channelCount + channel]) }
          filled = count
        }
      }
      let resampled = resample(
        plane, height: image.height, width: image.width, outputHeight: height, outputWidth: width,
        factor: factor, roundingUpTo: Double(image.bitDepth.maximum))
      samples.withUnsafeMutableBufferPointer { target in
        for pixel in resampled.indices {
          target[pixel * channelCount + channel] = UInt16(resampled[pixel])
        }
      }
    }
    return RasterImage(
      width: width, height: height, channelCount: channelCount, bitDepth: image.bitDepth,
      samples: samples, tags: image.tags)
  }
}

/// The baseline that every super-resolution model must beat.
public struct BicubicUpscaler: Upscaler {
  /// How many times each side is enlarged.
  public let scale: Int
  /// Pictures of this depth are rounded after each pass, as MATLAB does with pictures from files; `nil`
  /// rounds nothing.
  public let bitDepth: RasterImage.BitDepth?

  /// `bicubic`.
  public var name: String { "bicubic" }
  /// `nil`: any number of channels.
  public var requiredChannelCount: Int? { nil }

  /// Bicubic enlargement by a whole number.
  ///
  /// - Precondition: `scale` is positive.
  public init(scale: Int, bitDepth: RasterImage.BitDepth? = nil) {
    precondition(scale > 0, "a scale is positive")
    self.scale = scale
    self.bitDepth = bitDepth
  }

  public func upscale(_ picture: Picture, progress: (@Sendable (Double) -> Void)?) throws
    -> Picture
  {
    defer { progress?(1) }
    guard let bitDepth, picture.channelCount == 1 || picture.channelCount == 3 else {
      return BicubicResampling().enlarged(picture, by: scale)
    }
    let image = RasterImage(color: picture, bitDepth: bitDepth)
    return BicubicResampling().enlarged(image, by: scale).colorPicture
  }
}
