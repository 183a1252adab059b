import TestSupport
import Testing

@testable import SuperResolution

/// Repeats pixels, and takes only pictures of so many channels.
private struct NearestUpscaler: Upscaler {
  var scale = 2
  var requiredChannelCount: Int?
  var name: String { "nearest" }

  func upscale(_ picture: Picture, progress: (@Sendable (Double) -> Void)?) throws -> Picture {
    #expect(requiredChannelCount.map { $0 == picture.channelCount } ?? true)
    let (height, width) = (picture.height * scale, picture.width * scale)
    var samples: [Float] = []
    for channel in 0..<picture.channelCount {
      for y in 0..<height {
        for x in 0..<width {
          let row = channel * picture.height + y / scale
          samples.append(picture.samples[row * picture.width + x / scale])
        }
      }
    }
    return Picture(
      channelCount: picture.channelCount, height: height, width: width, samples: samples)
  }
}

@Suite struct RasterUpscalingTests {
  @Test(arguments: [1, 2, 3, 4], [RasterImage.BitDepth.eight, .sixteen])
  func theFormIsKept(channelCount: Int, bitDepth: RasterImage.BitDepth) throws {
    var image = PictureFixtures.sample(
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

  /// A grey picture comes out of an RGB model as it would out of a grey one.
  @Test func greyGoesThroughRGB() throws {
    let image = PictureFixtures.sample(width: 6, height: 5, channelCount: 1)
    let direct = try RasterUpscaling(NearestUpscaler()).upscale(image)
    let threefold = try RasterUpscaling(NearestUpscaler(requiredChannelCount: 3)).upscale(image)
    #expect(direct == threefold)
  }

  /// Luma by the model, the rest interpolated: grey pixels stay grey, and luma is the model's.
  @Test func colorGoesThroughGrey() throws {
    let grey = PictureFixtures.sample(width: 6, height: 5, channelCount: 1)
    let upscaler = NearestUpscaler(requiredChannelCount: 1)
    let direct = try RasterUpscaling(upscaler).upscale(grey)
    let threefold = try RasterUpscaling(upscaler).upscale(grey.asRGB)
    #expect(threefold.samples == direct.asRGB.samples)

    // Colours in the middle of the range, so that nothing is clipped.
    let image = RasterImage(
      width: 6, height: 5, channelCount: 3, bitDepth: .sixteen,
      samples: PictureFixtures.sample(
        width: 6, height: 5, channelCount: 3, bitDepth: .sixteen
      ).samples.map { 24_000 + $0 / 4 })
    let result = try RasterUpscaling(upscaler).upscale(image).colorPicture.luma
    let expected = try upscaler.upscale(image.colorPicture.luma, progress: nil)
    #expect(zip(result.samples, expected.samples).allSatisfy { abs($0 - $1) < 3e-5 })
  }

  @Test func alphaIsInterpolated() throws {
    let image = PictureFixtures.sample(width: 6, height: 5, channelCount: 4)
    let result = try RasterUpscaling(NearestUpscaler()).upscale(image)
    let alpha = try #require(image.alphaPicture)
    let expected = BicubicResampling().enlarged(alpha, by: 2)
    #expect(
      stride(from: 3, to: result.samples.count, by: 4).map { result.samples[$0] }
        == RasterImage(color: expected, bitDepth: .eight).samples)
  }

  @Test func whatWouldBeTooLargeIsRefused() {
    let image = RasterImage(
      width: 40_000, height: 1, channelCount: 1, bitDepth: .eight,
      samples: [UInt16](repeating: 0, count: 40_000))
    #expect(
      throws: SuperResolutionError(
        "enlarged 2 times, its 80000×2 pixels exceed the limit of 65535 a side")
    ) { try RasterUpscaling(NearestUpscaler()).upscale(image) }
  }

  @Test func otherChannelsAreRefused() {
    let image = PictureFixtures.sample(width: 6, height: 5, channelCount: 3)
    #expect(throws: SuperResolutionError("the model takes 4 channels, and the picture has 3")) {
      try RasterUpscaling(NearestUpscaler(requiredChannelCount: 4)).upscale(image)
    }
  }
}
