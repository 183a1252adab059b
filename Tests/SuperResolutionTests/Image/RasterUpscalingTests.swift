import Foundation
import TestSupport
import Testing

@testable import Imaging
@testable import Storage
@testable import SuperResolution

/// An upscaler that repeats pixels and takes only images of the required channel count.
private struct NearestUpscaler: Upscaler {
  var scale = 2
  var requiredChannelCount: Int?
  var name: String { "nearest" }

  func upscale(_ image: Image, progress: (@Sendable (Double) -> Void)?) throws -> Image {
    #expect(requiredChannelCount.map { $0 == image.channelCount } ?? true)
    let (height, width) = (image.height * scale, image.width * scale)
    var samples: [Float] = []
    for channel in 0..<image.channelCount {
      for y in 0..<height {
        for x in 0..<width {
          let row = channel * image.height + y / scale
          samples.append(image.samples[row * image.width + x / scale])
        }
      }
    }
    return Image(
      channelCount: image.channelCount, height: height, width: width, samples: samples)
  }
}

@Suite struct RasterUpscalingTests {
  @Test(arguments: [1, 2, 3, 4], [RasterImage.BitDepth.eight, .sixteen])
  func channelsBitDepthAndTagsAreKept(channelCount: Int, bitDepth: RasterImage.BitDepth) throws {
    var image = ImageFixtures.sample(
      width: 6, height: 5, channelCount: channelCount, bitDepth: bitDepth)
    image.tags.gamma = 45_455
    for required in [nil, 1, 3] {
      let upscaler = NearestUpscaler(scale: 3, requiredChannelCount: required)
      let result = try RasterUpscaling(upscaler).upscale(image)
      #expect(result.width == 18 && result.height == 15)
      #expect(result.channelCount == channelCount)
      #expect(result.bitDepth == bitDepth)
      #expect(result.tags == image.tags)
    }
  }

  /// An RGB model gives a grey image the same result as a grey model.
  @Test func greyImageThroughRGBModelMatchesGreyModel() throws {
    let image = ImageFixtures.sample(width: 6, height: 5, channelCount: 1)
    let direct = try RasterUpscaling(NearestUpscaler()).upscale(image)
    let threefold = try RasterUpscaling(NearestUpscaler(requiredChannelCount: 3)).upscale(image)
    #expect(direct == threefold)
  }

  /// The model upscales luma and the rest is interpolated: grey pixels stay grey, and luma is the
  /// model's.
  @Test func colorImageThroughGreyModelKeepsModelLuma() throws {
    let grey = ImageFixtures.sample(width: 6, height: 5, channelCount: 1)
    let upscaler = NearestUpscaler(requiredChannelCount: 1)
    let direct = try RasterUpscaling(upscaler).upscale(grey)
    let threefold = try RasterUpscaling(upscaler).upscale(grey.asRGB)
    #expect(threefold.samples == direct.asRGB.samples)

    // The colours are in the middle of the range, so that nothing is clipped.
    let image = RasterImage(
      width: 6, height: 5, channelCount: 3, bitDepth: .sixteen,
      samples: ImageFixtures.sample(
        width: 6, height: 5, channelCount: 3, bitDepth: .sixteen
      ).samples.map { 24_000 + $0 / 4 })
    let result = try RasterUpscaling(upscaler).upscale(image).colorImage.luma
    let expected = try upscaler.upscale(image.colorImage.luma, progress: nil)
    #expect(zip(result.samples, expected.samples).allSatisfy { abs($0 - $1) < 3e-5 })
  }

  @Test func alphaIsInterpolated() throws {
    let image = ImageFixtures.sample(width: 6, height: 5, channelCount: 4)
    let result = try RasterUpscaling(NearestUpscaler()).upscale(image)
    let alpha = try #require(image.alphaImage)
    let expected = BicubicResampling().upscaled(alpha, by: 2)
    #expect(
      stride(from: 3, to: result.samples.count, by: 4).map { result.samples[$0] }
        == RasterImage(color: expected, bitDepth: .eight).samples)
  }

  struct Premultiplied: Decodable {
    let scale: Int
    /// Base64 of the samples, two bytes each.
    let samples: String
  }

  /// The expected values are NumPy's bicubic interpolation of colours times alpha.
  @Test func interpolationUsesPremultipliedColours() throws {
    let cases = try ImageFixtures.json([String: Premultiplied].self, "premultiplied.json")
    #expect(cases.count == 6)
    for (name, expected) in cases {
      let image = try RasterImage(contentsOf: ImageFixtures.path(name))
      let upscaler = BicubicUpscaler(scale: expected.scale, bitDepth: image.bitDepth)
      let result = try RasterUpscaling(upscaler).upscale(image)
      let bytes = try #require(Data(base64Encoded: expected.samples))
      let samples = stride(from: 0, to: bytes.count, by: 2).map {
        Int(bytes[$0]) | Int(bytes[$0 + 1]) << 8
      }
      #expect(samples.count == result.samples.count)
      let largest = zip(samples, result.samples).map { abs($0 - Int($1)) }.max()
      // The Float32 colours are divided by an alpha of perhaps 1/255.
      #expect(try #require(largest) <= (image.bitDepth == .eight ? 1 : 2), "\(name)")
    }
  }

  /// The pixels are white, some of them transparent and black; every visible pixel of the result is
  /// white.
  @Test(arguments: [2, 4], [RasterImage.BitDepth.eight, .sixteen])
  func transparentColoursDoNotShow(channelCount: Int, bitDepth: RasterImage.BitDepth) throws {
    let maximum = UInt16(bitDepth.maximum)
    var samples: [UInt16] = []
    for y in 0..<16 {
      for x in 0..<16 {
        let distance = (x - 8) * (x - 8) + (y - 8) * (y - 8)
        let alpha = distance < 20 ? maximum : distance < 30 ? maximum / 2 : 0
        samples += [UInt16](repeating: alpha > 0 ? maximum : 0, count: channelCount - 1) + [alpha]
      }
    }
    let image = RasterImage(
      width: 16, height: 16, channelCount: channelCount, bitDepth: bitDepth, samples: samples)
    var upscalers: [any Upscaler] = [BicubicUpscaler(scale: 2, bitDepth: bitDepth)]
    for required in [nil, 1, 3] {
      upscalers.append(NearestUpscaler(requiredChannelCount: required))
      upscalers.append(Smooth(requiredChannelCount: required))
    }
    for upscaler in upscalers {
      let result = try RasterUpscaling(upscaler).upscale(image)
      for pixel in stride(from: 0, to: result.samples.count, by: channelCount) {
        let alpha = result.samples[pixel + channelCount - 1]
        for channel in 0..<channelCount - 1 {
          let sample = result.samples[pixel + channel]
          #expect(alpha > 0 ? sample >= maximum - maximum / 100 : sample == 0)
        }
      }
    }
  }

  /// An upscaler that interpolates but is not a `BicubicUpscaler`, as a network may be.
  private struct Smooth: Upscaler {
    var scale: Int { 2 }
    var requiredChannelCount: Int?
    var name: String { "smooth" }

    func upscale(_ image: Image, progress: (@Sendable (Double) -> Void)?) throws -> Image {
      BicubicResampling().upscaled(image, by: scale)
    }
  }

  /// Opaque pixels are upscaled as without alpha, as are images without a visible pixel.
  @Test func opaqueAndInvisibleImagesIgnoreAlpha() throws {
    let plain = ImageFixtures.sample(width: 6, height: 5, channelCount: 3)
    let opaque = RasterImage(
      width: 6, height: 5, channelCount: 4, bitDepth: .eight,
      samples: (0..<30).flatMap { plain.samples[3 * $0..<3 * $0 + 3] + [255] })
    let upscaler = BicubicUpscaler(scale: 2, bitDepth: .eight)
    let expected = try RasterUpscaling(upscaler).upscale(plain)
    let result = try RasterUpscaling(upscaler).upscale(opaque)
    #expect(result.withoutAlpha == expected)
    let invisible = RasterImage(
      width: 2, height: 2, channelCount: 2, bitDepth: .eight,
      samples: [9, 0, 8, 0, 7, 0, 6, 0])
    for upscaler: any Upscaler in [upscaler, NearestUpscaler()] {
      #expect(try RasterUpscaling(upscaler).upscale(invisible).samples.allSatisfy { $0 == 0 })
    }
  }

  /// Gives the result of another upscaler in bands of several heights.
  private struct Banded: Upscaler {
    let whole: any Upscaler
    var scale: Int { whole.scale }
    var requiredChannelCount: Int? { whole.requiredChannelCount }
    var name: String { "banded" }

    func upscale(_ image: Image, progress: (@Sendable (Double) -> Void)?) throws -> Image {
      try whole.upscale(image, progress: progress)
    }

    func upscaleBands(
      of image: Image, progress: (@Sendable (Double) -> Void)?, _ body: (Image) throws -> Void
    ) throws {
      let large = try upscale(image, progress: progress)
      var row = 0
      while row < large.height {
        let end = min(large.height, 2 * row + 1)
        try body(large.cropped(rows: row..<end, columns: 0..<large.width))
        row = end
      }
    }
  }

  /// However the rows are divided, the image is the same: alpha and colour differences are
  /// interpolated as for the whole.
  @Test(arguments: [1, 2, 3, 4], [RasterImage.BitDepth.eight, .sixteen])
  func bandsAreThoseOfTheWhole(channelCount: Int, bitDepth: RasterImage.BitDepth) throws {
    let image = ImageFixtures.sample(
      width: 6, height: 7, channelCount: channelCount, bitDepth: bitDepth)
    for required in [nil, 1, 3] {
      let upscaler = Smooth(requiredChannelCount: required)
      let whole = try RasterUpscaling(upscaler).upscale(image)
      #expect(try RasterUpscaling(Banded(whole: upscaler)).upscale(image) == whole)
    }
  }

  /// Large images are interpolated in bands, with the result of the whole.
  @Test func interpolationIsDivided() throws {
    let image = ImageFixtures.sample(width: 900, height: 500, channelCount: 3)
    let upscaler = BicubicUpscaler(scale: 2, bitDepth: .eight)
    var heights: [Int] = []
    try RasterUpscaling(upscaler).upscaleBands(of: image) { heights.append($0.height) }
    #expect(heights.count > 1 && heights.reduce(0, +) == 1000)
    #expect(
      try RasterUpscaling(upscaler).upscale(image) == BicubicResampling().upscaled(image, by: 2))
  }

  @Test func densityGrowsWithScale() throws {
    var image = ImageFixtures.sample(width: 6, height: 5, channelCount: 3)
    image.tags.density = .init(horizontal: 2835, vertical: 1000)
    let upscaling = RasterUpscaling(NearestUpscaler(scale: 3))
    #expect(
      try upscaling.upscale(image).tags.density == .init(horizontal: 8505, vertical: 3000))
    image.tags.density = .init(horizontal: 3, vertical: 2, isRatio: true)
    #expect(try upscaling.upscale(image).tags.density == image.tags.density)
  }

  /// A network that fails gives no image.
  @Test(arguments: [Float.nan, .infinity, -.infinity])
  func nonFiniteResultsAreErrors(_ value: Float) {
    struct Broken: Upscaler {
      let value: Float
      var scale: Int { 2 }
      var requiredChannelCount: Int? { nil }
      var name: String { "broken" }

      func upscale(_ image: Image, progress: (@Sendable (Double) -> Void)?) throws -> Image {
        var large = BicubicResampling().upscaled(image, by: scale)
        large.samples[large.height * large.width + large.width + 3] = value
        return large
      }
    }
    let image = ImageFixtures.sample(width: 6, height: 5, channelCount: 3)
    #expect(throws: ModelError("the model made \(value) of it, at pixel 3, 1")) {
      try RasterUpscaling(Broken(value: value)).upscale(image)
    }
  }

  @Test func tooLargeResultIsRefused() {
    let image = RasterImage(
      width: 40_000, height: 1, channelCount: 1, bitDepth: .eight,
      samples: [UInt16](repeating: 0, count: 40_000))
    #expect(
      throws: ModelError(
        "upscaled 64 times, its 2560000×64 pixels exceed the limit of 134217728 in all")
    ) { try RasterUpscaling(NearestUpscaler(scale: 64)).upscale(image) }
  }

  @Test func otherChannelCountIsRefused() {
    let image = ImageFixtures.sample(width: 6, height: 5, channelCount: 3)
    #expect(throws: ModelError("the model takes 4 channels, and the image has 3")) {
      try RasterUpscaling(NearestUpscaler(requiredChannelCount: 4)).upscale(image)
    }
  }
}
