import CImageCodecs
import Formats

/// JPEG files, by libjpeg-turbo.
///
/// Grey and RGB pictures of 8 bits are read, baseline and progressive, turned as their EXIF orientation
/// says; an ICC profile is kept. CMYK is refused, and so is a file that ends too early.
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
          "its \(width)×\(height) pixels cannot be in a file of \(buffer.count) bytes")
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
      var tags = ColorTags()
      if let profile = markers.profile, ICCHeader(profile)?.channelCount == channelCount {
        tags.profile = .init(name: Array("ICC profile".utf8), bytes: profile)
      }
      return RasterImage(
        width: width, height: height, channelCount: channelCount, bitDepth: .eight,
        samples: samples.map(UInt16.init), tags: tags
      ).turned(by: markers.orientation)
    }
  }

  /// - Parameter quality: libjpeg's, 1 to 100. Colours are not subsampled.
  /// - Precondition: the picture has neither alpha nor 16 bits; `ImageFormat.check`.
  static func encode(_ image: RasterImage, quality: Int) throws -> SharedBytes {
    try CodecMessage.bytes("JPEG") { output, count, message in
      image.withStoredSamples { samples in
        condi_jpeg_write(
          samples.baseAddress, UInt32(image.width), UInt32(image.height),
          Int32(image.channelCount), Int32(quality), output, count, message)
      }
    }
  }
}

/// As much of an ICC profile's header as tells which pictures it fits.
private struct ICCHeader {
  let channelCount: Int

  /// `nil` for a profile of other colours than grey and RGB, and for what is no profile.
  init?(_ profile: [UInt8]) {
    guard profile.count >= 128 else { return nil }
    switch Array(profile[16..<20]) {
    case Array("GRAY".utf8): channelCount = 1
    case Array("RGB ".utf8): channelCount = 3
    default: return nil
    }
  }
}
