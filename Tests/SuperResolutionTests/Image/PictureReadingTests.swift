import Formats
import Foundation
import TestSupport
import Testing

@testable import SuperResolution

@Suite struct PictureReadingTests {
  @Test func fixturesArePresent() {
    #expect(PictureFixtures.names.count > 40)
  }

  @Test func thePageListsTheLimits() throws {
    let page = try String(
      contentsOf: PackageFolder.root.appending(
        path: "Sources/SuperResolution/SuperResolution.docc/Pictures.md"),
      encoding: .utf8)
    let limits = page.split(separator: "\n").filter { $0.hasPrefix("| ") }.dropFirst().map { row in
      row.split(separator: "|")[1].filter(\.isNumber)
    }
    // libjpeg-turbo's own limit of scans comes last.
    let expected = [
      RasterImage.sideLimit, RasterImage.pixelLimit, PNGCodec.largestExpansion,
      JPEGCodec.largestExpansion, 500,
    ]
    #expect(limits == expected.map(String.init))
  }

  @Test(arguments: PictureFixtures.names) func everyKindIsRead(_ name: String) throws {
    let expected = try #require(try PictureFixtures.expected()[name])
    let image = try RasterImage(contentsOf: PictureFixtures.path(name))
    #expect(image.width == expected.width)
    #expect(image.height == expected.height)
    #expect(image.channelCount == expected.channels)
    #expect(image.bitDepth.rawValue == expected.bitDepth)
    if let checksum = expected.crc32 {
      #expect(PictureFixtures.checksum(image) == checksum)
    } else {
      // Versions of libjpeg-turbo may round differently, never by more than a step or two.
      let samples = try #require(expected.samples.flatMap { Data(base64Encoded: $0) })
      #expect(samples.count == image.samples.count)
      #expect(zip(samples, image.samples).allSatisfy { abs(Int($0) - Int($1)) <= 2 })
    }
  }

  /// Without its last bytes a file is an error, wherever it was cut.
  @Test(arguments: ["rgb8.png", "palette4.png", "rgba16_interlaced.png", "tagged_profile.png"])
  func everyTruncationIsAnError(_ name: String) throws {
    let bytes = try PictureFixtures.bytes(name)
    for count in 0..<bytes.count {
      #expect(throws: SuperResolutionError.self, "\(count) bytes") {
        try RasterImage(parsing: SharedBytes(bytes[..<count]))
      }
    }
  }

  @Test(arguments: ["color.jpg", "progressive.jpg", "turned_6.jpg"])
  func truncatedJPEGsAreErrors(_ name: String) throws {
    let bytes = try PictureFixtures.bytes(name)
    // The last two bytes, the end marker, are all that a decoder can do without.
    for count in 0..<bytes.count - 2 {
      #expect(throws: SuperResolutionError.self, "\(count) bytes") {
        try RasterImage(parsing: SharedBytes(bytes[..<count]))
      }
    }
  }

  /// Any changed byte gives the picture, another picture or an error, never a crash.
  @Test(arguments: ["rgb8.png", "palette8_transparent.png", "tagged_profile.png", "profile.jpg"])
  func changedBytesDoNoHarm(_ name: String) throws {
    let bytes = try PictureFixtures.bytes(name)
    var refusals = 0
    for index in bytes.indices {
      for mask: UInt8 in [0x01, 0x80, 0xFF] {
        var changed = bytes
        changed[index] ^= mask
        do {
          let image = try RasterImage(parsing: SharedBytes(changed))
          #expect(image.samples.count == image.width * image.height * image.channelCount)
        } catch is SuperResolutionError {
          refusals += 1
        }
      }
    }
    #expect(refusals > bytes.count / 10)
  }

  @Test(arguments: [
    ("refused_wide.png", "not a valid PNG file"),
    ("refused_pixels.png", "its 65535×65535 pixels exceed the limit of 134217728 in all"),
    ("refused_short.png", "its 10000×10000 pixels cannot be in a file of 69 bytes"),
    ("refused_width_0.png", "not a valid PNG file"),
    ("refused_depth_3.png", "not a valid PNG file"),
    ("refused_no_palette.png", "not a valid PNG file"),
    ("refused_no_pixels.png", "not a valid PNG file"),
    ("refused_filter_9.png", "not a valid PNG file: bad adaptive filter value"),
    ("refused_few_rows.png", "not a valid PNG file: Not enough image data"),
    ("refused_cmyk.jpg", "it has CMYK colours; only grey and RGB pictures are read"),
  ])
  func whatIsWrongIsSaid(name: String, reason: String) throws {
    let path = try PictureFixtures.path(name)
    let error = try #require(
      #expect(throws: SuperResolutionError.self) { try RasterImage(contentsOf: path) })
    #expect(error.path == path)
    #expect(error.reason.contains(reason), "\(error)")
  }

  @Test func otherFilesAreNoPictures() throws {
    for (bytes, reason) in [
      ([], "it is empty, no picture"),
      (Array("GIF89a".utf8), "it is neither a PNG nor a JPEG file"),
    ] {
      #expect(throws: SuperResolutionError(reason)) {
        try RasterImage(parsing: SharedBytes(bytes))
      }
    }
  }

  @Test func colorTagsAreRead() throws {
    let standard = try RasterImage(contentsOf: PictureFixtures.path("tagged_srgb.png")).tags
    #expect(standard.standardIntent == 1)
    #expect(standard.gamma == nil && standard.chromaticities == nil && standard.profile == nil)
    let gamma = try RasterImage(contentsOf: PictureFixtures.path("tagged_gamma.png")).tags
    #expect(gamma.gamma == 50_000)
    #expect(
      gamma.chromaticities == [31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000])
    for name in ["tagged_profile.png", "profile.jpg"] {
      let profile = try #require(
        try RasterImage(contentsOf: PictureFixtures.path(name)).tags.profile)
      #expect(profile.bytes.count == 280)
      #expect(Array(profile.bytes[16..<20]) == Array("RGB ".utf8))
    }
  }
}
