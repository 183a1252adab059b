import Foundation
import TestSupport
import Testing

@testable import Imaging
@testable import Storage

@Suite struct ImageWritingTests {
  @Test(arguments: [1, 2, 3, 4], [RasterImage.BitDepth.eight, .sixteen])
  func pngImagesRoundTrip(channelCount: Int, bitDepth: RasterImage.BitDepth) throws {
    for (width, height) in [(1, 1), (1, 9), (17, 1), (31, 33)] {
      let image = ImageFixtures.sample(
        width: width, height: height, channelCount: channelCount, bitDepth: bitDepth)
      let bytes = try image.encoded(as: .png)
      #expect(try RasterImage(parsing: bytes) == image)
      #expect(try image.encoded(as: .png).elementsEqual(bytes))
    }
  }

  /// Grey becomes RGB, and colours under transparent pixels stay.
  @Test(arguments: [1, 2, 3, 4])
  func webpImagesRoundTrip(channelCount: Int) throws {
    for (width, height) in [(1, 1), (1, 9), (17, 1), (31, 33)] {
      let image = ImageFixtures.sample(width: width, height: height, channelCount: channelCount)
      let bytes = try image.encoded(as: .webp)
      let read = try RasterImage(parsing: bytes)
      #expect(read.hasAlpha == image.hasAlpha)
      #expect(read.withoutAlpha.samples == image.withoutAlpha.asRGB.samples)
      #expect(read.alphaImage == image.alphaImage)
      #expect(try image.encoded(as: .webp).elementsEqual(bytes))
    }
  }

  /// The lower the quality, the smaller the file; alpha and the profile are kept all the same.
  @Test func lossyWebPImagesResemble() throws {
    var image = try RasterImage(contentsOf: ImageFixtures.path("metric_3.png"))
    image.tags.profile = .init(name: Array("p".utf8), bytes: try Self.profile(280))
    let sizes = try [100, 60].map { quality in
      let bytes = try image.encoded(as: .webp, quality: quality)
      let read = try RasterImage(parsing: bytes)
      #expect(read.tags.profile?.bytes == image.tags.profile?.bytes)
      #expect(
        ImageFidelity.peakSignalToNoise(LumaPlane(of: read), LumaPlane(of: image)) > 30)
      return bytes.count
    }
    #expect(sizes[0] > sizes[1])
    let clear = ImageFixtures.sample(width: 9, height: 8, channelCount: 4)
    let read = try RasterImage(parsing: clear.encoded(as: .webp, quality: 80))
    #expect(read.alphaImage == clear.alphaImage)
  }

  @Test func webpRefusesWhatItCannotHold() throws {
    let deep = ImageFixtures.sample(width: 4, height: 4, channelCount: 3, bitDepth: .sixteen)
    #expect(
      throws: ModelError("a WebP file holds 8 bits a sample, not 16; write a PNG file instead")
    ) { try deep.encoded(as: .webp) }
    let wide = ImageFixtures.sample(width: 16_383, height: 1, channelCount: 1)
    #expect(try RasterImage(parsing: wide.encoded(as: .webp)).width == 16_383)
    #expect(
      throws: ModelError(
        "a WebP file has at most 16383 pixels a side; write a PNG file instead")
    ) { try ImageFormat.webp.check(wide, scale: 2) }
    var tagged = ImageFixtures.sample(width: 4, height: 4, channelCount: 3)
    tagged.tags.density = .init(horizontal: 2835, vertical: 2835)
    tagged.tags.gamma = 100_000
    #expect(
      ImageFormat.webp.fitted(tagged).omissions.map(\.description) == [
        "gamma and primaries (gAMA, cHRM): a WebP file has a place for ICC profiles only",
        "the density: a WebP file has no place for it",
      ])
  }

  /// The bytes of a file do not depend on how its rows are divided.
  @Test(arguments: [
    (ImageFormat.png, 4, RasterImage.BitDepth.sixteen), (.png, 1, .eight), (.jpeg, 3, .eight),
    (.jpeg, 1, .eight), (.webp, 4, .eight),
  ])
  func bandsGiveTheSameFile(
    format: ImageFormat, channelCount: Int, bitDepth: RasterImage.BitDepth
  ) throws {
    let image = ImageFixtures.sample(
      width: 1200, height: 350, channelCount: channelCount, bitDepth: bitDepth)
    let encoder = try ImageEncoder(image.layout, as: format, quality: 70)
    var bytes: [UInt8] = []
    var pieceCount = 0
    for (start, end) in [(0, 1), (1, 100), (100, 350)] {
      try encoder.add(image.cropped(x: 0, y: start, width: 1200, height: end - start)) {
        bytes += $0
        pieceCount += $0.isEmpty ? 0 : 1
      }
    }
    try encoder.finish { bytes += $0 }
    #expect(try image.encoded(as: format, quality: 70).array == bytes)
    #expect(format.isStreamed == (pieceCount > 0))
  }

  @Test(arguments: [ImageFormat.png, .jpeg, .webp])
  func missingAndSurplusRowsAreErrors(_ format: ImageFormat) throws {
    let image = ImageFixtures.sample(width: 5, height: 4, channelCount: 3)
    let encoder = try ImageEncoder(image.layout, as: format, quality: nil)
    try encoder.add(image.cropped(x: 0, y: 0, width: 5, height: 3)) { _ in }
    #expect(
      throws: ModelError(
        "it cannot become a \(format.name) file: there are fewer rows than announced")
    ) { try encoder.finish { _ in } }
    #expect(
      throws: ModelError(
        "it cannot become a \(format.name) file: there are more rows than announced")
    ) { try encoder.add(image) { _ in } }
  }

  @Test(arguments: [
    "tagged_srgb.png", "tagged_gamma.png", "tagged_profile.png", "profile.jpg", "described.png",
  ])
  func colorTagsRoundTrip(_ name: String) throws {
    let image = try RasterImage(contentsOf: ImageFixtures.path(name))
    #expect(image.tags != ImageTags())
    #expect(try RasterImage(parsing: image.encoded(as: .png)).tags == image.tags)
  }

  /// libpng reads this profile, whose length differs from the one it states, but does not write it.
  @Test func unwritableProfilesAreLeftOut() throws {
    let path = PackageFolder.root.appending(
      path: "Fuzz/Findings/image/crash-59f08dd260f24fd527de5e5383e2c591a5782a88")
    let image = try RasterImage(contentsOf: path.path)
    #expect(image.tags.profile != nil)
    let (fitted, omissions) = ImageFormat.png.fitted(image)
    #expect(fitted.tags.profile == nil && fitted.samples == image.samples)
    #expect(omissions.map(\.what) == ["the colour profile"])
    #expect(try RasterImage(parsing: image.encoded(as: .png)).tags.profile == nil)
  }

  /// Profiles of one segment and of several round-trip through JPEG byte for byte.
  @Test(arguments: [280, 65_519, 65_520, 200_000])
  func profilesRoundTripThroughJPEG(byteCount: Int) throws {
    var image = ImageFixtures.sample(width: 8, height: 8, channelCount: 3)
    image.tags.profile = .init(name: Array("p".utf8), bytes: try Self.profile(byteCount))
    let read = try RasterImage(parsing: image.encoded(as: .jpeg))
    #expect(read.tags.profile?.bytes == image.tags.profile?.bytes)
    #expect(read.omissions.isEmpty)
    #expect(ImageFormat.jpeg.fitted(image).omissions.isEmpty)
  }

  /// Returns the fixtures' profile, followed by bytes that no reader uses.
  private static func profile(_ byteCount: Int) throws -> [UInt8] {
    let image = try RasterImage(contentsOf: ImageFixtures.path("profile.jpg"))
    var bytes = try #require(image.tags.profile).bytes
    var generator = SplitMix(seed: 3)
    while bytes.count < byteCount { bytes.append(UInt8.random(in: 0...255, using: &generator)) }
    return bytes
  }

  @Test func tagsUnsupportedByJPEGAreLeftOut() throws {
    var image = ImageFixtures.sample(width: 8, height: 8, channelCount: 1)
    func omissions() -> [String] { ImageFormat.jpeg.fitted(image).omissions.map(\.description) }
    let place = "a JPEG file has a place for ICC profiles only"
    image.tags.profile = .init(name: Array("p".utf8), bytes: try Self.profile(280))
    #expect(
      omissions() == ["the colour profile: it is for RGB images, and this one is grey"])
    image.tags.profile = nil
    image.tags.gamma = 100_000
    #expect(omissions() == ["gamma and primaries (gAMA, cHRM): \(place)"])
    image.tags = ImageTags()
    image.tags.codePoints = [9, 16, 0, 1]
    image.tags.lightLevel = [UInt8](repeating: 0, count: 8)
    #expect(
      omissions() == [
        "colour code points (cICP): \(place)", "the mastering display (mDCV, cLLI): \(place)",
      ])
    image.tags = ImageTags()
    image.tags.density = .init(horizontal: 1e9, vertical: 1e9)
    #expect(
      omissions() == ["the density: its numbers are not 1 to 65535 in pixels per inch"])
    // These tags do not change how a program shows the image.
    image.tags = ImageTags()
    image.tags.gamma = 45_455
    image.tags.chromaticities = [31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000]
    image.tags.codePoints = [1, 13, 0, 1]
    #expect(omissions().isEmpty)
    image.tags.standardIntent = 0
    #expect(omissions().isEmpty)
    var color = ImageFixtures.sample(width: 8, height: 8, channelCount: 3)
    color.tags.profile = .init(
      name: Array("p".utf8), bytes: try Self.profile(280) + [UInt8](repeating: 1, count: 17_000_000)
    )
    #expect(
      ImageFormat.jpeg.fitted(color).omissions.map(\.description) == [
        "the colour profile: its 17000280 bytes exceed the 16707345 that a JPEG file has room for"
      ])
  }

  @Test(arguments: [ImageFormat.png, .jpeg])
  func densitiesRoundTrip(format: ImageFormat) throws {
    for (horizontal, vertical, isRatio) in [
      (300 / 0.0254, 150 / 0.0254, false), (2835, 2835, false), (3, 2, true),
    ] {
      var image = ImageFixtures.sample(width: 8, height: 8, channelCount: 3)
      image.tags.density = .init(horizontal: horizontal, vertical: vertical, isRatio: isRatio)
      let read = try #require(
        try RasterImage(parsing: image.encoded(as: format)).tags.density)
      #expect(read.isRatio == isRatio)
      #expect(abs(read.horizontal - horizontal) <= 0.5 / 0.0254 / 40)
      #expect(abs(read.vertical - vertical) <= 0.5 / 0.0254 / 40)
    }
  }

  @Test func oversizedJPEGImagesAreRefused() throws {
    let image = ImageFixtures.sample(width: 40_000, height: 1, channelCount: 1)
    #expect(throws: Never.self) { try ImageFormat.jpeg.check(image) }
    #expect(
      throws: ModelError(
        "a JPEG file has at most 65500 pixels a side; write a PNG file instead")
    ) { try ImageFormat.jpeg.check(image, scale: 2) }
    #expect(throws: Never.self) { try ImageFormat.png.check(image, scale: 2) }
  }

  @Test func jpegResemblesImage() throws {
    for (source, channels) in [("metric_1.png", 1), ("metric_3.png", 3)] {
      let image = try RasterImage(contentsOf: ImageFixtures.path(source))
      let read = try RasterImage(parsing: image.encoded(as: .jpeg, quality: 100))
      #expect(read.channelCount == channels)
      #expect(
        zip(image.samples, read.samples).allSatisfy { abs(Int($0) - Int($1)) <= 6 })
    }
  }

  @Test func jpegRefusesAlphaAndSixteenBits() throws {
    for image in [
      ImageFixtures.sample(width: 4, height: 4, channelCount: 4),
      ImageFixtures.sample(width: 4, height: 4, channelCount: 3, bitDepth: .sixteen),
    ] {
      #expect(
        throws: ModelError(
          "a JPEG file holds neither alpha nor 16 bits a sample; write a PNG file instead")
      ) { try image.encoded(as: .jpeg) }
    }
  }

  @Test(arguments: [
    ("a.png", ImageFormat.png), ("x/a.PNG", .png), ("a.jpg", .jpeg), ("a.b.jpeg", .jpeg),
    ("a.webp", .webp), ("a.gif", nil), ("png", nil), (".png", nil), ("x.png/a", nil),
  ])
  func extensionSelectsFormat(path: String, format: ImageFormat?) {
    #expect(ImageFormat(path: path) == format)
  }

  /// Each orientation followed by its inverse gives the image back.
  @Test(arguments: [(2, 2), (3, 3), (4, 4), (5, 5), (6, 8), (7, 7), (8, 6)])
  func orientationsAreInvertible(orientation: Int, inverse: Int) {
    let image = ImageFixtures.sample(width: 5, height: 3, channelCount: 3)
    let turned = image.turned(by: orientation)
    #expect(turned != image)
    #expect(turned.width == (orientation >= 5 ? 3 : 5))
    #expect(turned.turned(by: inverse) == image)
  }

  @Test func realSamplesAreClippedAndRounded() {
    let color = Image(
      channelCount: 1, height: 1, width: 6, samples: [-1, 0.5, 2, .nan, 1 / 255.0 * 0.49, 1])
    let alpha = Image(
      channelCount: 1, height: 1, width: 6, samples: [0, 1, .infinity, -.infinity, 0.25, 0.75])
    let image = RasterImage(color: color, alpha: alpha, bitDepth: .eight)
    #expect(image.samples == [0, 0, 128, 255, 255, 255, 0, 0, 0, 64, 255, 191])
  }

  @Test func realSamplesRoundTripExactly() {
    for bitDepth in [RasterImage.BitDepth.eight, .sixteen] {
      let image = RasterImage(
        width: bitDepth.maximum + 1, height: 1, channelCount: 1, bitDepth: bitDepth,
        samples: (0...bitDepth.maximum).map(UInt16.init))
      #expect(RasterImage(color: image.colorImage, bitDepth: bitDepth) == image)
    }
  }
}
