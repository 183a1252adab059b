import Formats
import Foundation
import TestSupport
import Testing

@testable import SuperResolution

@Suite struct PictureWritingTests {
  @Test(arguments: [1, 2, 3, 4], [RasterImage.BitDepth.eight, .sixteen])
  func picturesComeBack(channelCount: Int, bitDepth: RasterImage.BitDepth) throws {
    for (width, height) in [(1, 1), (1, 9), (17, 1), (31, 33)] {
      let image = PictureFixtures.sample(
        width: width, height: height, channelCount: channelCount, bitDepth: bitDepth)
      let bytes = try image.encoded(as: .png)
      #expect(try RasterImage(parsing: bytes) == image)
      #expect(try image.encoded(as: .png).elementsEqual(bytes))
    }
  }

  @Test(arguments: ["tagged_srgb.png", "tagged_gamma.png", "tagged_profile.png", "profile.jpg"])
  func colorTagsComeBack(_ name: String) throws {
    let image = try RasterImage(contentsOf: PictureFixtures.path(name))
    #expect(image.tags != ColorTags())
    #expect(try RasterImage(parsing: image.encoded(as: .png)).tags == image.tags)
  }

  /// libpng reads this profile, whose length is not the one that it states, and does not write it.
  @Test func profilesThatCannotBeWrittenAreKnownBefore() throws {
    let path = PackageFolder.root.appending(
      path: "Fuzz/Findings/picture/crash-59f08dd260f24fd527de5e5383e2c591a5782a88")
    let image = try RasterImage(contentsOf: path.path)
    #expect(image.tags.profile != nil)
    let refusal = try #require(
      #expect(throws: SuperResolutionError.self) { try ImageFormat.png.check(image) })
    // What is said before the work is what would be said after it.
    #expect(throws: refusal) { try image.encoded(as: .png) }
    var untagged = image
    untagged.tags.profile = nil
    #expect(throws: Never.self) { try ImageFormat.png.check(untagged) }
  }

  @Test func jpegIsNearlyThePicture() throws {
    for (source, channels) in [("metric_1.png", 1), ("metric_3.png", 3)] {
      let image = try RasterImage(contentsOf: PictureFixtures.path(source))
      let read = try RasterImage(parsing: image.encoded(as: .jpeg, quality: 100))
      #expect(read.channelCount == channels)
      #expect(
        zip(image.samples, read.samples).allSatisfy { abs(Int($0) - Int($1)) <= 6 })
    }
  }

  @Test func jpegHoldsNeitherAlphaNorSixteenBits() throws {
    for image in [
      PictureFixtures.sample(width: 4, height: 4, channelCount: 4),
      PictureFixtures.sample(width: 4, height: 4, channelCount: 3, bitDepth: .sixteen),
    ] {
      #expect(
        throws: SuperResolutionError(
          "a JPEG file holds neither alpha nor 16 bits a sample; write a PNG file instead")
      ) { try image.encoded(as: .jpeg) }
    }
  }

  @Test(arguments: [
    ("a.png", ImageFormat.png), ("x/a.PNG", .png), ("a.jpg", .jpeg), ("a.b.jpeg", .jpeg),
    ("a.gif", nil), ("png", nil), (".png", nil), ("x.png/a", nil),
  ])
  func extensionsChooseTheFormat(path: String, format: ImageFormat?) {
    #expect(ImageFormat(path: path) == format)
  }

  /// Each orientation undone twice, or by its inverse, is the picture again.
  @Test(arguments: [(2, 2), (3, 3), (4, 4), (5, 5), (6, 8), (7, 7), (8, 6)])
  func orientationsAreTurns(orientation: Int, inverse: Int) {
    let image = PictureFixtures.sample(width: 5, height: 3, channelCount: 3)
    let turned = image.turned(by: orientation)
    #expect(turned != image)
    #expect(turned.width == (orientation >= 5 ? 3 : 5))
    #expect(turned.turned(by: inverse) == image)
  }

  @Test func realsAreClippedAndRounded() {
    let color = Picture(
      channelCount: 1, height: 1, width: 6, samples: [-1, 0.5, 2, .nan, 1 / 255.0 * 0.49, 1])
    let alpha = Picture(
      channelCount: 1, height: 1, width: 6, samples: [0, 1, .infinity, -.infinity, 0.25, 0.75])
    let image = RasterImage(color: color, alpha: alpha, bitDepth: .eight)
    #expect(image.samples == [0, 0, 128, 255, 255, 255, 0, 0, 0, 64, 255, 191])
  }

  @Test func realsKeepEverySample() {
    for bitDepth in [RasterImage.BitDepth.eight, .sixteen] {
      let image = RasterImage(
        width: bitDepth.maximum + 1, height: 1, channelCount: 1, bitDepth: bitDepth,
        samples: (0...bitDepth.maximum).map(UInt16.init))
      #expect(RasterImage(color: image.colorPicture, bitDepth: bitDepth) == image)
    }
  }
}
