import Foundation
import TestSupport
import Testing

@testable import Imaging
@testable import Storage

@Suite struct ImageReadingTests {
  @Test func fixturesArePresent() {
    #expect(ImageFixtures.names.count > 40)
  }

  @Test func documentationListsLimits() throws {
    let page = try String(
      contentsOf: PackageFolder.root.appending(
        path: "Sources/Imaging/Imaging.docc/Images.md"),
      encoding: .utf8)
    let limits = page.split(separator: "\n").filter { $0.hasPrefix("| ") }.dropFirst().map { row in
      row.split(separator: "|")[1].filter(\.isNumber)
    }
    // libjpeg-turbo's own scan limit comes last.
    let expected = [
      RasterImage.pixelLimit, JPEGCodec.sideLimit, WebPCodec.sideLimit, PNGCodec.largestExpansion,
      JPEGCodec.largestExpansion, 500,
    ]
    #expect(limits == expected.map(String.init))
  }

  @Test(arguments: ImageFixtures.names) func everyFixtureIsRead(_ name: String) throws {
    let expected = try #require(try ImageFixtures.expected()[name])
    let image = try RasterImage(contentsOf: ImageFixtures.path(name))
    #expect(image.width == expected.width)
    #expect(image.height == expected.height)
    #expect(image.channelCount == expected.channels)
    #expect(image.bitDepth.rawValue == expected.bitDepth)
    if let checksum = expected.crc32 {
      #expect(ImageFixtures.checksum(image) == checksum)
    } else {
      // Versions of libjpeg-turbo may round differently, but never by more than a step or two.
      let samples = try #require(expected.samples.flatMap { Data(base64Encoded: $0) })
      #expect(samples.count == image.samples.count)
      #expect(zip(samples, image.samples).allSatisfy { abs(Int($0) - Int($1)) <= 2 })
    }
  }

  /// A truncated file is an error, wherever it was cut.
  @Test(arguments: [
    "rgb8.png", "palette4.png", "rgba16_interlaced.png", "tagged_profile.png", "rgb8.webp",
    "rgba8.webp", "color.webp",
  ])
  func everyTruncationIsAnError(_ name: String) throws {
    let bytes = try ImageFixtures.bytes(name)
    for count in 0..<bytes.count {
      #expect(throws: ModelError.self, "\(count) bytes") {
        try RasterImage(parsing: SharedBytes(bytes[..<count]))
      }
    }
  }

  @Test(arguments: ["color.jpg", "progressive.jpg", "turned_6.jpg"])
  func truncatedJPEGsAreErrors(_ name: String) throws {
    let bytes = try ImageFixtures.bytes(name)
    // The last two bytes, the end marker, are all that a decoder can do without.
    for count in 0..<bytes.count - 2 {
      #expect(throws: ModelError.self, "\(count) bytes") {
        try RasterImage(parsing: SharedBytes(bytes[..<count]))
      }
    }
  }

  /// Any changed byte gives the same image, another image or an error, never a crash.
  @Test(arguments: [
    "rgb8.png", "palette8_transparent.png", "tagged_profile.png", "profile.jpg", "rgba8.webp",
    "profile.webp",
  ])
  func changedBytesNeverCrash(_ name: String) throws {
    let bytes = try ImageFixtures.bytes(name)
    var refusals = 0
    for index in bytes.indices {
      for mask: UInt8 in [0x01, 0x80, 0xFF] {
        var changed = bytes
        changed[index] ^= mask
        do {
          let image = try RasterImage(parsing: SharedBytes(changed))
          #expect(image.samples.count == image.width * image.height * image.channelCount)
        } catch is ModelError {
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
    ("refused_cmyk.jpg", "it has CMYK colours; only grey and RGB images are read"),
    ("refused_animated.webp", "it is an animated WebP file; only still images are read"),
  ])
  func refusalsNameReason(name: String, reason: String) throws {
    let path = try ImageFixtures.path(name)
    let error = try #require(
      #expect(throws: ModelError.self) { try RasterImage(contentsOf: path) })
    #expect(error.path == path)
    #expect("\(error.problem)".contains(reason), "\(error)")
  }

  @Test func otherFilesAreRefused() throws {
    for (bytes, reason) in [
      ([], "it is empty"),
      (Array("GIF89a".utf8), "it is neither a PNG nor a JPEG nor a WebP file"),
    ] {
      #expect(throws: ModelError(reason)) {
        try RasterImage(parsing: SharedBytes(bytes))
      }
    }
  }

  @Test(arguments: [
    "rgb8.png", "turned_6.png", "turned_6.jpg", "profile.jpg", "tagged_profile.png", "rgba8.webp",
    "turned_6.webp", "profile.webp",
  ])
  func plainFilesHaveNoOmissions(_ name: String) throws {
    #expect(try RasterImage(contentsOf: ImageFixtures.path(name)).omissions.isEmpty)
  }

  @Test(arguments: [
    (
      "described.png",
      [
        "XMP data: it describes the file that it is from",
        "2 further frames: only the first image is read",
        "1 text (Title): texts about the image are not carried over",
        "2 other chunks (tIME, bKGD): they are not carried over",
        "8 bytes after the end of the image: only the first image is read",
      ]
    ),
    (
      "described.jpg",
      [
        "EXIF data: only its orientation is applied",
        "1 comment: texts about the image are not carried over",
        "the colour profile: it is for CMYK colours, and the image is RGB",
      ]
    ),
    (
      "described.webp",
      [
        "the colour profile: it is for grey images, and this one is RGB",
        "EXIF data: only its orientation is applied",
        "XMP data: it describes the file that it is from",
        "8 bytes after the end of the image: only the first image is read",
      ]
    ),
    (
      "misfit_grey.png",
      [
        "the colour profile: libpng says: profile 'a profile': 'GRAY': Gray color space not permitted "
          + "on RGB PNG"
      ]
    ),
    (
      "misfit_cmyk.png",
      [
        "the colour profile: libpng says: profile 'a profile': 'CMYK': invalid ICC profile color space"
      ]
    ),
  ])
  func omissionsAreListed(_ name: String, _ omissions: [String]) throws {
    let image = try RasterImage(contentsOf: ImageFixtures.path(name))
    #expect(image.omissions.map(\.description) == omissions)
    #expect(image.tags.profile == nil)
  }

  /// Many items of one kind are listed as one omission.
  @Test func omissionsOfOneKindAreSummarized() throws {
    var bytes = try ImageFixtures.bytes("rgb8.png")
    let end = bytes.count - 12
    var chunks: [UInt8] = []
    for (index, letter) in (UInt8(ascii: "A")...UInt8(ascii: "Z")).enumerated() {
      for content in [Array("tEXtKey\(index)\0x".utf8), Array("zzX".utf8) + [letter]] {
        chunks += Self.chunk(content)
      }
    }
    bytes.insert(contentsOf: chunks, at: end)
    let image = try RasterImage(parsing: SharedBytes(bytes))
    #expect(
      image.omissions.map(\.what) == [
        "26 texts (Key0, Key1, Key2, Key3, Key4, Key5, Key6, Key7, …)",
        "26 other chunks (zzXA, zzXB, zzXC, zzXD, zzXE, zzXF, zzXG, zzXH, …)",
      ])
  }

  /// Unreadable EXIF data do not rotate the image and are listed.
  @Test(arguments: [
    ("tEXtRaw profile type exif\0\nexif\n 4\n00", "1 text (Raw profile type exif)"),
    ("eXIfII", "EXIF data"),
  ])
  func damagedEXIFDataAreListed(_ content: String, _ what: String) throws {
    let plain = try ImageFixtures.bytes("rgb8.png")
    var bytes = plain
    // The chunk follows the header.
    bytes.insert(contentsOf: Self.chunk(Array(content.utf8)), at: 33)
    let image = try RasterImage(parsing: SharedBytes(bytes))
    #expect(image.omissions.map(\.what) == [what])
    #expect(try RasterImage(parsing: SharedBytes(plain)).samples == image.samples)
  }

  /// Returns a chunk of a PNG file.
  ///
  /// - Parameter content: The four letters of the type, then at most 255 bytes.
  private static func chunk(_ content: [UInt8]) -> [UInt8] {
    let checksum = CRC32.checksum(SharedBytes(content))
    var chunk: [UInt8] = [0, 0, 0, UInt8(content.count - 4)]
    chunk += content
    for shift in [24, 16, 8, 0] as [UInt32] {
      chunk.append(UInt8(truncatingIfNeeded: checksum >> shift))
    }
    return chunk
  }

  @Test func codePointAndDensityTagsAreRead() throws {
    let tags = try RasterImage(contentsOf: ImageFixtures.path("described.png")).tags
    #expect(tags.codePoints == [12, 13, 0, 1])
    #expect(tags.masteringDisplay?.count == 24 && tags.lightLevel?.count == 8)
    #expect(tags.density == .init(horizontal: 11_811, vertical: 5_906))
    let density = try #require(
      try RasterImage(contentsOf: ImageFixtures.path("described.jpg")).tags.density)
    #expect((density.horizontal * 0.0254).rounded() == 300)
    #expect((density.vertical * 0.0254).rounded() == 150)
  }

  /// A profile in three segments, of which the file has `numbers`, in that order.
  @Test(
    arguments: [
      ([1, 2, 3], true, nil), ([3, 1, 2], true, nil),
      (
        [1, 2, 2, 3], true,
        "segment 2 of the colour profile that is there again: its bytes are the same"
      ),
      ([1, 3], false, "the colour profile: of its 3 segments number 2 is missing"),
      ([3], false, "the colour profile: of its 3 segments numbers 1, 2 are missing"),
      ([1, 2, 3, 0], false, "the colour profile: there is a segment 0 of 3"),
      ([4, 1, 2, 3], false, "the colour profile: there is a segment 4 of 3"),
    ] as [([Int], Bool, String?)])
  func profilesAreJoinedFromSegments(_ numbers: [Int], isKept: Bool, omission: String?) throws {
    let image = try RasterImage(
      parsing: Self.profileFile(numbers.map { ($0, 3, $0) }))
    #expect(image.omissions.map(\.description) == (omission.map { [$0] } ?? []))
    #expect(image.tags.profile?.bytes == (isKept ? try Self.profile() : nil))
  }

  @Test func conflictingProfileSegmentsAreOmitted() throws {
    for (segments, reason) in [
      (
        [(1, 3, 1), (2, 3, 2), (2, 3, 1), (3, 3, 3)], "there are two segments 2 of 3, which differ"
      ),
      ([(1, 3, 1), (2, 2, 2), (3, 3, 3)], "one segment counts 3 segments and another 2"),
    ] {
      let image = try RasterImage(parsing: Self.profileFile(segments))
      #expect(image.omissions.map(\.description) == ["the colour profile: \(reason)"])
      #expect(image.tags.profile == nil)
    }
  }

  private static func profile() throws -> [UInt8] {
    let image = try RasterImage(contentsOf: ImageFixtures.path("profile.jpg"))
    return try #require(image.tags.profile).bytes
  }

  /// Returns `profile.jpg` with its profile in thirds.
  ///
  /// - Parameter segments: The number and the count that each segment states, and the third that it
  ///   holds.
  private static func profileFile(_ segments: [(number: Int, count: Int, content: Int)]) throws
    -> SharedBytes
  {
    let profile = try profile()
    let bytes = try ImageFixtures.bytes("color.jpg")
    let third = (profile.count + 2) / 3
    let pieces = segments.flatMap { segment -> [UInt8] in
      let first = min(max(0, segment.content - 1) * third, profile.count)
      let piece = profile[first..<min(first + third, profile.count)]
      let length = 2 + JPEGMarkers.profilePrefix.count + 2 + piece.count
      return [0xFF, 0xE2, UInt8(length >> 8), UInt8(length & 0xFF)] + JPEGMarkers.profilePrefix
        + [UInt8(segment.number), UInt8(segment.count)] + piece
    }
    return SharedBytes(bytes[..<2] + pieces + bytes[2...])
  }

  @Test(arguments: [(70_000, 1), (1, 70_000), (1_200_000, 1)])
  func longSidesRoundTrip(width: Int, height: Int) throws {
    let image = ImageFixtures.sample(width: width, height: height, channelCount: 1)
    let read = try RasterImage(parsing: image.encoded(as: .png))
    #expect(read == image)
  }

  @Test func colorTagsAreRead() throws {
    let standard = try RasterImage(contentsOf: ImageFixtures.path("tagged_srgb.png")).tags
    #expect(standard.standardIntent == 1)
    #expect(standard.gamma == nil && standard.chromaticities == nil && standard.profile == nil)
    let gamma = try RasterImage(contentsOf: ImageFixtures.path("tagged_gamma.png")).tags
    #expect(gamma.gamma == 50_000)
    #expect(
      gamma.chromaticities == [31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000])
    for name in ["tagged_profile.png", "profile.jpg", "profile.webp"] {
      let profile = try #require(
        try RasterImage(contentsOf: ImageFixtures.path(name)).tags.profile)
      #expect(profile.bytes.count == 280)
      #expect(Array(profile.bytes[16..<20]) == Array("RGB ".utf8))
    }
  }
}
