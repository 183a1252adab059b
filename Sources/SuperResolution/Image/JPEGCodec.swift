import CImageCodecs
import Formats

/// JPEG files, by libjpeg-turbo.
///
/// Grey and RGB images of 8 bits are read, baseline and progressive, turned as their EXIF orientation
/// says. An ICC profile and the density are kept, and what else there is is listed. CMYK is refused, and
/// so is a file that ends too early.
enum JPEGCodec {
  static let signature: [UInt8] = [0xFF, 0xD8, 0xFF]

  /// A block of 64 pixels takes at least a bit with Huffman codes, so a byte holds at most 512 pixels;
  /// arithmetic codes may hold more, up to here.
  static let largestExpansion = 2048

  /// - Throws: `SuperResolutionError` without a path when `bytes` are no whole, valid JPEG file, or its
  ///   picture exceeds the limits.
  static func decode(_ bytes: SharedBytes) throws -> RasterImage {
    try bytes.withUnsafeBytes { buffer in
      let base = buffer.baseAddress?.assumingMemoryBound(to: UInt8.self)
      var header = condi_jpeg_header()
      try CodecMessage.catching("JPEG") {
        condi_jpeg_read_header(base, buffer.count, &header, $0)
      }
      let (width, height) = (Int(header.width), Int(header.height))
      try RasterImage.checkLimits(width: width, height: height)
      guard width * height / largestExpansion <= buffer.count else {
        throw SuperResolutionError(
          "its \(width)×\(height) pixels cannot be in a file of \(counted(buffer.count, "byte"))")
      }
      let channelCount = Int(header.channels)
      let count = width * height * channelCount
      let samples = try [UInt8](unsafeUninitializedCapacity: count) { target, filled in
        try CodecMessage.catching("JPEG") {
          condi_jpeg_read_samples(base, buffer.count, &header, target.baseAddress, count, $0)
        }
        filled = count
      }
      let markers = JPEGMarkers(buffer)
      var tags = ImageTags()
      tags.density = markers.density
      var omissions = markers.omissions
      if let bytes = markers.profile {
        let profile = ImageTags.Profile(name: Array("ICC profile".utf8), bytes: bytes)
        if let obstacle = profile.obstacle(toChannels: channelCount) {
          omissions.append(ImageOmission("the colour profile", obstacle))
        } else {
          tags.profile = profile
        }
      }
      var image = RasterImage(
        width: width, height: height, channelCount: channelCount, bitDepth: .eight,
        samples: samples.map(UInt16.init), tags: tags)
      image.omissions = omissions
      return image.turned(by: markers.orientation)
    }
  }

  /// The longest side that libjpeg writes, in pixels.
  static let sideLimit = 65_500
  /// Bytes of an ICC profile that fit in one segment, beside its prefix and two numbers.
  private static let profilePieceByteCount = 65_533 - JPEGMarkers.profilePrefix.count - 2

  /// What of `tags` a file can hold, and what it can't.
  static func fitted(_ tags: ImageTags, channelCount: Int) -> (ImageTags, [ImageOmission]) {
    let noPlace = "a JPEG file has a place for ICC profiles only"
    var fitted = ImageTags()
    var omissions: [ImageOmission] = []
    if let profile = tags.profile {
      if let obstacle = profile.obstacle(toChannels: channelCount) {
        omissions.append(ImageOmission("the colour profile", obstacle))
      } else if profile.bytes.count > 255 * profilePieceByteCount {
        omissions.append(
          ImageOmission(
            "the colour profile",
            "its \(counted(profile.bytes.count, "byte")) exceed the \(255 * profilePieceByteCount) that a JPEG "
              + "file has room for"))
      } else {
        fitted.profile = profile
      }
    } else if tags.standardIntent == nil, !tags.isNearlyStandard {
      // Without a profile colours are taken for sRGB's.
      omissions.append(ImageOmission("gamma and primaries (gAMA, cHRM)", noPlace))
    }
    // BT.709's primaries with sRGB's curve.
    if let points = tags.codePoints, fitted.profile != nil || points.prefix(2) != [1, 13] {
      omissions.append(ImageOmission("colour code points (cICP)", noPlace))
    }
    if tags.masteringDisplay != nil || tags.lightLevel != nil {
      omissions.append(ImageOmission("the mastering display (mDCV, cLLI)", noPlace))
    }
    if let density = tags.density {
      if storedDensity(density) == nil {
        omissions.append(
          ImageOmission("the density", "its numbers are not 1 to 65535 in pixels per inch"))
      } else {
        fitted.density = density
      }
    }
    return (fitted, omissions)
  }

  /// JFIF's unit, 0 for none or 1 for an inch, and the numbers; `nil` where they do not fit in 16 bits.
  private static func storedDensity(_ density: ImageTags.Density) -> (UInt8, UInt16, UInt16)? {
    let factor = density.isRatio ? 1 : 0.0254
    guard let horizontal = UInt16(exactly: (density.horizontal * factor).rounded()),
      let vertical = UInt16(exactly: (density.vertical * factor).rounded()), horizontal > 0,
      vertical > 0
    else { return nil }
    return (density.isRatio ? 0 : 1, horizontal, vertical)
  }

  /// - Parameter quality: libjpeg's, 1 to 100. Colours are not subsampled.
  /// - Precondition: the image has neither alpha nor 16 bits, and tags that fit; `ImageFormat`.
  static func encode(_ image: RasterImage, quality: Int) throws -> SharedBytes {
    let bytes = try CodecMessage.bytes("JPEG") { output, count, message in
      image.withStoredSamples { samples in
        condi_jpeg_write(
          samples.baseAddress, UInt32(image.width), UInt32(image.height),
          Int32(image.channelCount), Int32(quality), output, count, message)
      }
    }
    guard image.tags.profile != nil || image.tags.density != nil else { return bytes }
    return tagged(bytes, image.tags)
  }

  /// The file with a density in its JFIF segment and a profile behind it.
  private static func tagged(_ bytes: SharedBytes, _ tags: ImageTags) -> SharedBytes {
    // SOI, then JFIF's segment: a marker, its length of 16, five letters, a version, the density.
    let jfifByteCount = 20
    var start = bytes.slice(0..<min(jfifByteCount, bytes.count)).array
    guard start.count == jfifByteCount, start[2...5] == [0xFF, 0xE0, 0, 16] else { return bytes }
    if let density = tags.density, let (unit, horizontal, vertical) = storedDensity(density) {
      start[13] = unit
      for (index, number) in [(14, horizontal), (16, vertical)] {
        start[index] = UInt8(number >> 8)
        start[index + 1] = UInt8(number & 0xFF)
      }
    }
    if let profile = tags.profile?.bytes {
      let count = (profile.count + profilePieceByteCount - 1) / profilePieceByteCount
      for number in 1...max(1, count) {
        let first = (number - 1) * profilePieceByteCount
        let piece = profile[first..<min(first + profilePieceByteCount, profile.count)]
        let length = 2 + JPEGMarkers.profilePrefix.count + 2 + piece.count
        start += [0xFF, 0xE2, UInt8(length >> 8), UInt8(length & 0xFF)] + JPEGMarkers.profilePrefix
        start += [UInt8(number), UInt8(count)] + piece
      }
    }
    return SharedBytes(start + bytes.slice(jfifByteCount..<bytes.count).array)
  }
}

extension ImageTags {
  /// Whether gamma and primaries are sRGB's, as far as they are given: a gamma of 1/2.2 is what files
  /// say for its curve.
  fileprivate var isNearlyStandard: Bool {
    (gamma.map { abs($0 - 45_455) <= 50 } ?? true)
      && (chromaticities.map {
        zip($0, [31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000])
          .allSatisfy { abs($0 - $1) <= 100 }
      } ?? true)
  }
}
