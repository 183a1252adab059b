/// Enlarges pictures from files by an upscaler that may know only grey or only RGB.
///
/// - A grey picture goes through an RGB model as three equal channels; of the result the luma is kept.
/// - An RGB picture goes through a grey model as luma; its two colour differences are enlarged by
///   bicubic interpolation, to which the eye is less sensitive.
/// - Alpha is enlarged by bicubic interpolation; colours under transparent pixels are taken as they are.
/// - The bit depth and what the file says of its colours are kept.
///
/// Luma is BT.601's, `0.299 R + 0.587 G + 0.114 B`, on the samples as they are stored.
public struct RasterUpscaling: Sendable {
  /// What enlarges the colours.
  package let upscaler: any Upscaler

  /// Enlarges by `upscaler`, whatever channels it takes.
  public init(_ upscaler: any Upscaler) {
    self.upscaler = upscaler
  }

  /// Enlarges a picture as its files have it: grey or RGB, with or without alpha, 8 or 16 bits.
  ///
  /// - Throws: `SuperResolutionError` when the result would exceed `RasterImage`'s limits, or the model
  ///   does not take the picture.
  public func upscale(_ image: RasterImage, progress: (@Sendable (Double) -> Void)? = nil) throws
    -> RasterImage
  {
    let scale = upscaler.scale
    let (width, height) = (image.width * scale, image.height * scale)
    do {
      try RasterImage.checkLimits(width: width, height: height)
    } catch let error as SuperResolutionError {
      throw SuperResolutionError("enlarged \(scale) times, \(error.reason)")
    }
    let color = try upscale(image.colorPicture, progress: progress)
    guard color.height == height, color.width == width else {
      throw SuperResolutionError(
        "the model made \(color.width)×\(color.height) pixels of \(image.sizeText)")
    }
    let alpha = image.alphaPicture.map { BicubicResampling().enlarged($0, by: scale) }
    return RasterImage(color: color, alpha: alpha, bitDepth: image.bitDepth, tags: image.tags)
  }

  private func upscale(_ color: Picture, progress: (@Sendable (Double) -> Void)?) throws
    -> Picture
  {
    switch (color.channelCount, upscaler.requiredChannelCount ?? color.channelCount) {
    case (let given, let taken) where given == taken:
      return try upscaler.upscale(color, progress: progress)
    case (1, 3):
      let grey = color.samples
      let rgb = Picture(
        channelCount: 3, height: color.height, width: color.width, samples: grey + grey + grey)
      return try upscaler.upscale(rgb, progress: progress).luma
    case (3, 1):
      return try color.replacingLuma(enlargedBy: upscaler.scale) {
        try upscaler.upscale($0, progress: progress)
      }
    case (let given, let taken):
      throw SuperResolutionError(
        "the model takes \(taken) channels, and the picture has \(given)")
    }
  }
}

extension Picture {
  /// BT.601's luma of an RGB picture; of a grey picture the picture itself.
  var luma: Picture {
    guard channelCount == 3 else { return self }
    let count = height * width
    let plane = (0..<count).map { pixel in
      0.299 * samples[pixel] + 0.587 * samples[count + pixel] + 0.114 * samples[2 * count + pixel]
    }
    return Picture(channelCount: 1, height: height, width: width, samples: plane)
  }

  /// An RGB picture whose luma `enlarge` enlarges, and bicubic interpolation the rest.
  fileprivate func replacingLuma(
    enlargedBy scale: Int, _ enlarge: (Picture) throws -> Picture
  ) throws -> Picture {
    let luma = luma
    let count = height * width
    // R − Y and B − Y, which leave G = Y − (0.299 (R − Y) + 0.114 (B − Y)) / 0.587.
    let differences = Picture(
      channelCount: 2, height: height, width: width,
      samples: (0..<count).map { samples[$0] - luma.samples[$0] }
        + (0..<count).map { samples[2 * count + $0] - luma.samples[$0] })
    let large = try enlarge(luma)
    let rest = BicubicResampling().enlarged(differences, by: scale)
    guard (large.channelCount, large.height, large.width) == (1, rest.height, rest.width) else {
      throw SuperResolutionError("the model made a picture of another size than announced")
    }
    let largeCount = large.samples.count
    var rgb = large.samples + large.samples + large.samples
    for pixel in 0..<largeCount {
      let (red, blue) = (rest.samples[pixel], rest.samples[largeCount + pixel])
      rgb[pixel] += red
      rgb[largeCount + pixel] -= (0.299 * red + 0.114 * blue) / 0.587
      rgb[2 * largeCount + pixel] += blue
    }
    return Picture(
      channelCount: 3, height: large.height, width: large.width, samples: rgb)
  }
}
