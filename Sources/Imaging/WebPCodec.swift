import CImageCodecs
import Storage

/// WebP files (RFC 9649), read and written by libwebp.
///
/// Still images are read, lossy and without loss, as RGB with or without alpha, and turned according
/// to their EXIF orientation. The ICC profile is kept; other contents are listed as omissions.
/// Animations and truncated files are rejected. Grey images are written as RGB: the format knows no
/// grey.
enum WebPCodec {
  /// The longest side of an image in pixels.
  static let sideLimit = 16_383

  /// Whether a file that begins with `start`, of 12 bytes or more, is one of this format.
  static func isSignature(_ start: [UInt8]) -> Bool {
    start.count >= 12 && start.starts(with: "RIFF".utf8) && start[8..<12].elementsEqual("WEBP".utf8)
  }

  /// Decodes `bytes` as a WebP file.
  ///
  /// - Throws: `ModelError` without a path if `bytes` are not a complete, valid WebP file of a still
  ///   image, or if it exceeds the limits.
  static func decode(_ bytes: SharedBytes) throws -> RasterImage {
    try bytes.withUnsafeBytes { buffer in
      let base = buffer.baseAddress?.assumingMemoryBound(to: UInt8.self)
      var header = condi_webp_header()
      try CodecMessage.catching("WebP") {
        condi_webp_read_header(base, buffer.count, &header, $0)
      }
      guard header.is_animated == 0 else {
        throw ModelError("it is an animated WebP file; only still images are read")
      }
      let (width, height) = (Int(header.width), Int(header.height))
      try RasterImage.checkLimits(width: width, height: height)
      let channelCount = Int(header.channels)
      let count = width * height * channelCount
      let samples = try [UInt8](unsafeUninitializedCapacity: count) { target, filled in
        try CodecMessage.catching("WebP") {
          condi_webp_read_samples(base, buffer.count, &header, target.baseAddress, $0)
        }
        filled = count
      }
      let chunks = WebPChunks(bytes)
      var tags = ImageTags()
      var omissions = chunks.omissions
      if let bytes = chunks.profile, let omission = tags.take(profile: bytes, channelCount: 3) {
        omissions.insert(omission, at: 0)
      }
      var image = RasterImage(
        width: width, height: height, channelCount: channelCount, bitDepth: .eight,
        samples: samples.map(UInt16.init), tags: tags)
      image.omissions = omissions
      return image.turned(by: chunks.orientation)
    }
  }

  /// Returns the part of `tags` that a WebP file can hold, and the omissions.
  static func fitted(_ tags: ImageTags) -> (ImageTags, [ImageOmission]) {
    var (fitted, omissions) = tags.fittedToProfiles(of: "WebP", channelCount: 3)
    if tags.density != nil {
      fitted.density = nil
      omissions.append(ImageOmission("the density", "a WebP file has no place for it"))
    }
    return (fitted, omissions)
  }
}

/// Contents of a WebP file besides the pixels.
///
/// Nothing here is an error: damaged chunks are treated as absent, and the decoder judges the rest.
private struct WebPChunks {
  /// The EXIF orientation, 1 to 8; 1, upright, if there is none.
  private(set) var orientation = 1
  private(set) var profile: [UInt8]?
  /// The file's other contents, which are dropped.
  private(set) var omissions: [ImageOmission] = []

  private static let known: Set<String> = ["VP8 ", "VP8L", "VP8X", "ALPH"]

  /// Walks the chunks: four letters, a length, the content and, where that is odd, a byte.
  init(_ bytes: SharedBytes) {
    func number(at offset: Int) -> Int {
      bytes.slice(offset..<offset + 4).array.reversed().reduce(0) { $0 << 8 | Int($1) }
    }
    let announced = 8 + number(at: 4)
    let end = min(bytes.count, announced)
    var (position, exif, hasXMP, others) = (12, EXIFData?.none, false, FirstNames())
    while end - position >= 8 {
      let type = String(decoding: bytes.slice(position..<position + 4).array, as: UTF8.self)
      let length = number(at: position + 4)
      guard length <= end - position - 8 else { break }
      let content = bytes.slice(position + 8..<position + 8 + length)
      position += 8 + length + length % 2
      switch type {
      case "ICCP": profile = profile ?? content.array
      case "EXIF": exif = exif ?? EXIFData(content.array)
      case "XMP ": hasXMP = true
      case let type where !Self.known.contains(type): others.add(type)
      default: break
      }
    }
    orientation = exif?.orientation ?? 1
    omissions += exif?.omissions ?? []
    if hasXMP { omissions.append(.xmp) }
    if others.count > 0 {
      omissions.append(
        ImageOmission(
          "\(counted(others.count, "other chunk")) (\(others.list))", "they are not carried over"))
    }
    let padded = announced + announced % 2
    if bytes.count > padded { omissions.append(.trailing(bytes.count - padded)) }
  }
}
