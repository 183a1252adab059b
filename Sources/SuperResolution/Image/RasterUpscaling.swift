import Imaging
import Storage

/// Upscales images from files with an upscaler that may accept only grey or only RGB.
///
/// - A grey image goes through an RGB model as three equal channels, and the luma of the result is
///   kept.
/// - An RGB image goes through a grey model as luma. Its two colour differences, to which the eye
///   is less sensitive, are upscaled by bicubic interpolation.
/// - Alpha is upscaled by bicubic interpolation. Colours under transparent pixels are meaningless
///   and do not bleed into the edges of visible parts: ``BicubicUpscaler`` interpolates
///   premultiplied colours and divides by the resulting alpha, while a network, which sees only
///   colours, gets those of visible pixels extended under the transparent ones. Pixels whose
///   resulting alpha is zero are black.
/// - The bit depth and the colour metadata of the file are kept. Pixel densities grow with the
///   image, so that its printed size stays the same.
///
/// Luma is that of BT.601, `0.299 R + 0.587 G + 0.114 B`, on the samples as stored.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// let network = try SuperResolutionNetwork(archive, name: "model", threads: 4)
/// let image = try RasterImage(contentsOf: "photo.png")
/// let large = try RasterUpscaling(network).upscale(image) { share in print(share) }
/// print(large.sizeText)
/// ```
public struct RasterUpscaling: Sendable {
  /// The upscaler of the colours.
  package let upscaler: any Upscaler

  /// Creates an upscaling with `upscaler`, whatever number of channels it requires.
  public init(_ upscaler: any Upscaler) {
    self.upscaler = upscaler
  }

  /// Upscales an image from a file: grey or RGB, with or without alpha, with 8 or 16 bits.
  ///
  /// - Throws: `ModelError` when the result would exceed `RasterImage`'s limits, when the model
  ///   does not accept the image, or when its result is not finite.
  public func upscale(_ image: RasterImage, progress: (@Sendable (Double) -> Void)? = nil) throws
    -> RasterImage
  {
    let scale = upscaler.scale
    let (width, height) = (image.width * scale, image.height * scale)
    do {
      try RasterImage.checkLimits(width: width, height: height)
    } catch let error as ModelError {
      throw ModelError("upscaled \(scale) times, \(error.problem)")
    }
    var samples: [UInt16] = []
    try upscaleBands(of: image, progress: progress) { band in
      // The only band is no copy.
      if samples.isEmpty, band.height == height {
        samples = band.samples
        return
      }
      samples.reserveCapacity(width * height * image.channelCount)
      samples += band.samples
    }
    return RasterImage(
      width: width, height: height, channelCount: image.channelCount, bitDepth: image.bitDepth,
      samples: samples, tags: image.tags.upscaled(by: scale))
  }

  /// Calls `body` with the upscaled image in bands of rows, from top to bottom; they have no tags.
  /// The result may exceed `RasterImage`'s limits.
  ///
  /// - Throws: As `upscale` does otherwise, and the errors of `body`.
  package func upscaleBands(
    of image: RasterImage, progress: (@Sendable (Double) -> Void)? = nil,
    _ body: (_ band: RasterImage) throws -> Void
  ) throws {
    let (width, height) = (image.width * upscaler.scale, image.height * upscaler.scale)
    var row = 0
    try colorBands(of: image, progress: progress) { color, alpha in
      var color = color
      let end = row + color.height
      guard color.width == width, end <= height else {
        throw ModelError("the model made \(color.width)×\(end) pixels of \(image.sizeText)")
      }
      if let odd = color.samples.firstIndex(where: { !$0.isFinite }) {
        let pixel = odd % (width * color.height)
        throw ModelError(
          "the model made \(color.samples[odd]) of it, at pixel \(pixel % width), "
            + "\(row + pixel / width)")
      }
      let alpha = alpha?(row..<end)
      if let alpha { color.clear(where: alpha, maximum: image.bitDepth.maximum) }
      try body(RasterImage(color: color, alpha: alpha, bitDepth: image.bitDepth))
      row = end
    }
    guard row == height else {
      throw ModelError("the model made \(width)×\(row) pixels of \(image.sizeText)")
    }
  }

  /// Calls `body` with the upscaled colours in bands, and with what returns rows of the upscaled
  /// alpha, if there is one.
  private func colorBands(
    of image: RasterImage, progress: (@Sendable (Double) -> Void)?,
    _ body: (_ color: Image, _ alpha: ((_ rows: Range<Int>) -> Image)?) throws -> Void
  ) throws {
    let color = image.colorImage
    guard let alpha = image.alphaImage else {
      return try bands(of: color, progress: progress) { try body($0, nil) }
    }
    let (bicubic, scale) = (BicubicResampling(), upscaler.scale)
    func largeAlpha(_ rows: Range<Int>) -> Image {
      bicubic.upscaled(alpha, by: scale, rows: rows)
    }
    if alpha.samples.allSatisfy({ $0 == 1 }) {
      return try bands(of: color, progress: progress) { try body($0, largeAlpha) }
    }
    guard upscaler is BicubicUpscaler else {
      return try bands(of: color.continued(where: alpha), progress: progress) {
        try body($0, largeAlpha)
      }
    }
    var row = 0
    // Without rounding, unlike the upscaler's own.
    try BicubicUpscaler(scale: scale).upscaleBands(
      of: color.combined(with: alpha, *), progress: progress
    ) { weighted in
      let rows = row..<row + weighted.height
      row = rows.upperBound
      try body(weighted.combined(with: largeAlpha(rows)) { $1 > 0 ? $0 / $1 : 0 }, largeAlpha)
    }
  }

  /// Calls `body` with bands of the upscaled image, whatever channels the upscaler requires.
  private func bands(
    of color: Image, progress: (@Sendable (Double) -> Void)?, _ body: (Image) throws -> Void
  ) throws {
    switch (color.channelCount, upscaler.requiredChannelCount ?? color.channelCount) {
    case (let given, let taken) where given == taken:
      try upscaler.upscaleBands(of: color, progress: progress, body)
    case (1, 3):
      let grey = color.samples
      let rgb = Image(
        channelCount: 3, height: color.height, width: color.width, samples: grey + grey + grey)
      try upscaler.upscaleBands(of: rgb, progress: progress) { try body($0.luma) }
    case (3, 1):
      let (luma, differences) = (color.luma, color.differences)
      var row = 0
      try upscaler.upscaleBands(of: luma, progress: progress) { large in
        let rows = row..<row + large.height
        row = rows.upperBound
        guard rows.upperBound <= color.height * upscaler.scale,
          large.width == color.width * upscaler.scale
        else { return try body(large) }  // which refuses it
        try body(
          large.combined(
            withDifferences: BicubicResampling().upscaled(
              differences, by: upscaler.scale, rows: rows)))
      }
    case (let given, let taken):
      throw ModelError(
        "the model takes \(taken) channels, and the image has \(given)")
    }
  }
}

extension Image {
  /// Returns the image in which `combine` maps each sample and the alpha of its pixel to a new
  /// sample.
  fileprivate func combined(with alpha: Image, _ combine: (Float, Float) -> Float) -> Image {
    var result = self
    let count = alpha.samples.count
    for index in samples.indices {
      result.samples[index] = combine(samples[index], alpha.samples[index % count])
    }
    return result
  }

  /// Makes every pixel black whose alpha rounds to 0 of `maximum`.
  fileprivate mutating func clear(where alpha: Image, maximum: Int) {
    let (count, least) = (alpha.samples.count, 0.5 / Float(maximum))
    for index in samples.indices where alpha.samples[index % count] < least { samples[index] = 0 }
  }

  /// Returns the image with the colours of visible pixels extended under transparent ones. Each
  /// transparent pixel gets the mean of those of its eight neighbours that are one step closer to a
  /// visible pixel.
  ///
  /// - Parameter alpha: one plane, 0 where a pixel is transparent. Without a visible pixel, the
  ///   image stays as it is.
  fileprivate func continued(where alpha: Image) -> Image {
    let count = height * width
    var result = self
    // 0: unknown, 1: known after this round, 2: known.
    var states = alpha.samples.map { $0 > 0 ? 2 : UInt8(0) }
    var border = (0..<count).filter { states[$0] == 2 }
    while !border.isEmpty {
      var next: [Int] = []
      for pixel in border {
        forEachNeighbor(of: pixel) { neighbor in
          guard states[neighbor] == 0 else { return }
          states[neighbor] = 1
          next.append(neighbor)
        }
      }
      for pixel in next {
        var known: Float = 0
        var sums = [Float](repeating: 0, count: channelCount)
        forEachNeighbor(of: pixel) { neighbor in
          guard states[neighbor] == 2 else { return }
          known += 1
          for channel in 0..<channelCount {
            sums[channel] += result.samples[channel * count + neighbor]
          }
        }
        for channel in 0..<channelCount {
          result.samples[channel * count + pixel] = sums[channel] / known
        }
      }
      for pixel in next { states[pixel] = 2 }
      border = next
    }
    return result
  }

  private func forEachNeighbor(of pixel: Int, _ body: (Int) -> Void) {
    let (x, y) = (pixel % width, pixel / width)
    for row in max(0, y - 1)...min(height - 1, y + 1) {
      for column in max(0, x - 1)...min(width - 1, x + 1) where row != y || column != x {
        body(row * width + column)
      }
    }
  }

  /// R − Y and B − Y of an RGB image with the luma Y.
  fileprivate var differences: Image {
    let luma = luma
    let count = height * width
    return Image(
      channelCount: 2, height: height, width: width,
      samples: (0..<count).map { samples[$0] - luma.samples[$0] }
        + (0..<count).map { samples[2 * count + $0] - luma.samples[$0] })
  }

  /// Returns the RGB image with this luma.
  fileprivate func combined(withDifferences differences: Image) -> Image {
    let count = samples.count
    var rgb = samples + samples + samples
    // G = Y − (0.299 (R − Y) + 0.114 (B − Y)) / 0.587.
    for pixel in 0..<count {
      let (red, blue) = (differences.samples[pixel], differences.samples[count + pixel])
      rgb[pixel] += red
      rgb[count + pixel] -= (0.299 * red + 0.114 * blue) / 0.587
      rgb[2 * count + pixel] += blue
    }
    return Image(channelCount: 3, height: height, width: width, samples: rgb)
  }
}
