import CImageCodecs
import Glibc
import Storage

/// PNG files (ISO/IEC 15948), read and written by libpng.
///
/// Every colour type and bit depth is read: palettes become RGB, grey of 1, 2 or 4 bits becomes 8
/// bits, and a transparent colour or palette entry becomes alpha. Only the first image of an
/// animation is read, and it is turned according to the EXIF orientation. Colour metadata and
/// density are kept (iCCP, sRGB, gAMA, cHRM, cICP, mDCV, cLLI and pHYs); other chunks are listed as
/// omissions.
enum PNGCodec {
  static let signature: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]

  /// The largest number of bytes that one byte of deflated data can become.
  static let largestExpansion = 1032

  /// Decodes `bytes` as a PNG file.
  ///
  /// - Throws: `ModelError` without a path if `bytes` are not a complete, valid PNG file, or if its
  ///   image exceeds the limits.
  static func decode(_ bytes: SharedBytes) throws -> RasterImage {
    try bytes.withUnsafeBytes { buffer in
      guard
        let reader = condi_png_reader_create(
          buffer.baseAddress?.assumingMemoryBound(to: UInt8.self), buffer.count,
          UInt32(RasterImage.pixelLimit))
      else { throw ModelError("there is not enough memory") }
      defer { condi_png_reader_destroy(reader) }
      var header = condi_png_header()
      try CodecMessage.catching("PNG") { condi_png_read_header(reader, &header, $0) }
      try check(header, byteCount: bytes.count)
      let (width, height) = (Int(header.width), Int(header.height))
      guard let bitDepth = RasterImage.BitDepth(rawValue: Int(header.bit_depth)),
        (1...4).contains(header.channels)
      else { throw ModelError("its samples have an unknown form") }
      let channelCount = Int(header.channels)
      let samples = try samples(count: width * height * channelCount, bitDepth) { target in
        try CodecMessage.catching("PNG") {
          condi_png_read_samples(reader, target.baseAddress, target.count, $0)
        }
      }
      let chunks = PNGChunks(bytes)
      var image = RasterImage(
        width: width, height: height, channelCount: channelCount, bitDepth: bitDepth,
        samples: samples, tags: ImageTags(header.tags, chunks: chunks.tags))
      image.omissions = chunks.omissions
      if chunks.hasProfile, image.tags.profile == nil {
        image.omissions.insert(Self.profileOmission(header), at: 0)
      }
      return image.turned(by: chunks.orientation)
    }
  }

  private static func profileOmission(_ header: condi_png_header) -> ImageOmission {
    let warning = header.profile_warning.map { String(cString: $0) } ?? ""
    return ImageOmission(
      "the colour profile", warning.isEmpty ? "libpng does not take it" : "libpng says: \(warning)")
  }

  /// Rejects an image that is too large, or too large for the file's length, before allocating
  /// memory.
  private static func check(_ header: condi_png_header, byteCount: Int) throws {
    let (width, height) = (Int(header.width), Int(header.height))
    try RasterImage.checkLimits(width: width, height: height)
    let bits = Int(header.stored_bit_depth) * Int(header.stored_channels)
    // At most 2²⁷ pixels of at most 64 bits, plus one filter byte per row, so nothing overflows.
    let rawByteCount = height * (1 + width * bits / 8)
    guard rawByteCount / largestExpansion <= byteCount else {
      throw ModelError(
        "its \(width)×\(height) pixels cannot be in a file of \(counted(byteCount, "byte"))")
    }
  }

  private static func samples(
    count: Int, _ bitDepth: RasterImage.BitDepth,
    _ fill: (UnsafeMutableBufferPointer<UInt8>) throws -> Void
  ) throws -> [UInt16] {
    guard bitDepth == .eight else {
      return try [UInt16](unsafeUninitializedCapacity: count) { target, filled in
        try UnsafeMutableRawBufferPointer(target).withMemoryRebound(to: UInt8.self, fill)
        filled = count
      }
    }
    let narrow = try [UInt8](unsafeUninitializedCapacity: count) { target, filled in
      try fill(UnsafeMutableBufferPointer(rebasing: target[..<count]))
      filled = count
    }
    return narrow.map(UInt16.init)
  }
}

extension RasterImage {
  /// Checks the size of an image against the limits.
  ///
  /// - Throws: `ModelError` if an image of this size is empty or too large.
  package static func checkLimits(width: Int, height: Int) throws {
    guard width > 0, height > 0 else { throw ModelError("it has no pixels") }
    let (count, overflow) = width.multipliedReportingOverflow(by: height)
    guard !overflow, count <= pixelLimit else {
      throw ModelError(
        "its \(width)×\(height) pixels exceed the limit of \(pixelLimit) in all")
    }
  }
}

extension ImageTags {
  /// Combines libpng's tags with those of `chunks`.
  ///
  /// - Parameter chunks: The tags that libpng does not report.
  fileprivate init(_ tags: condi_image_tags, chunks: ImageTags) {
    self = chunks
    // An sRGB chunk takes precedence over gAMA and cHRM.
    if tags.has_srgb != 0 {
      standardIntent = Int(tags.srgb_intent)
    } else {
      if tags.has_gamma != 0 { gamma = Int(tags.gamma) }
      if tags.has_chromaticities != 0 {
        chromaticities = withUnsafeBytes(of: tags.chromaticities) {
          $0.bindMemory(to: Int32.self).map(Int.init)
        }
      }
    }
    if let bytes = tags.profile, let name = tags.profile_name {
      profile = Profile(
        name: Array(UnsafeRawBufferPointer(start: name, count: strlen(name))),
        bytes: Array(UnsafeBufferPointer(start: bytes, count: Int(tags.profile_size))))
    }
  }
}

/// Metadata in chunks that libpng does not know in every version, or stores without a bound
/// (ISO/IEC 15948:2024, section 11).
///
/// Nothing here is an error: damaged chunks are treated as absent, and libpng judges the rest.
struct PNGChunks {
  /// Code points, mastering display, light level and density; libpng reports the other tags.
  private(set) var tags = ImageTags()
  /// The EXIF orientation, 1 to 8; 1, upright, if there is none.
  private(set) var orientation = 1
  /// Whether the file has an iCCP chunk, which libpng may reject.
  private(set) var hasProfile = false
  /// The file's other contents, which are dropped.
  private(set) var omissions: [ImageOmission] = []

  /// Chunks that libpng reads, and chunks of animations, which are reported as frames.
  private static let known: Set<String> = [
    "IHDR", "PLTE", "IDAT", "IEND", "tRNS", "gAMA", "cHRM", "sRGB", "fcTL", "fdAT",
  ]
  /// The keywords under which ImageMagick and similar programs store EXIF data: the text holds a
  /// name, a length and hexadecimal digits.
  private static let rawProfiles = ["Raw profile type exif", "Raw profile type APP1"]
  /// EXIF data in a JPEG file have at most 64 KiB; the same limit applies to EXIF data in texts.
  private static let exifByteLimit = 1 << 16

  init(_ bytes: SharedBytes) {
    var exif: EXIFData?
    var rawProfile: EXIFData?
    var texts = FirstNames()
    var others = FirstNames()
    var hasXMP = false
    var frameCount: Int?
    var position = PNGCodec.signature.count
    var isEnded = false
    while !isEnded, let chunk = Chunk(bytes, at: position) {
      position = chunk.end
      switch chunk.type {
      case "IEND": isEnded = true
      case "iCCP": hasProfile = true
      case "cICP": tags.codePoints = tags.codePoints ?? chunk.content(of: bytes, byteCount: 4)
      case "mDCV", "mDCv":
        tags.masteringDisplay = tags.masteringDisplay ?? chunk.content(of: bytes, byteCount: 24)
      case "cLLI", "cLLi":
        tags.lightLevel = tags.lightLevel ?? chunk.content(of: bytes, byteCount: 8)
      case "pHYs":
        tags.density = tags.density ?? chunk.content(of: bytes, byteCount: 9).flatMap(Self.density)
      case "eXIf":
        if exif == nil, chunk.isSound(in: bytes) {
          exif = EXIFData(bytes.slice(chunk.content).array)
        } else {
          others.add(chunk.type)
        }
      case "tEXt", "zTXt", "iTXt":
        let name = chunk.name(in: bytes)
        if rawProfile == nil, Self.rawProfiles.contains(name),
          let found = Self.rawProfile(chunk, in: bytes, nameLength: name.utf8.count)
        {
          rawProfile = found
        } else if name == "XML:com.adobe.xmp" {
          hasXMP = true
        } else {
          texts.add(name)
        }
      case "acTL":
        frameCount =
          frameCount ?? chunk.content(of: bytes, byteCount: 8).map { Self.number($0[0..<4]) }
      case let type where !Self.known.contains(type): others.add(type)
      default: break
      }
    }
    if let exif = exif ?? rawProfile {
      orientation = exif.orientation
      omissions += exif.omissions
    }
    if hasXMP { omissions.append(.xmp) }
    if let frameCount, frameCount > 1 { omissions.append(.frames(frameCount - 1)) }
    if let omission = ImageOmission.texts(texts) { omissions.append(omission) }
    if others.count > 0 {
      omissions.append(
        ImageOmission(
          "\(counted(others.count, "other chunk")) (\(others.list))", "they are not carried over"))
    }
    if isEnded, position < bytes.count {
      omissions.append(.trailing(bytes.count - position))
    }
  }

  private static func density(_ content: [UInt8]) -> ImageTags.Density? {
    let (horizontal, vertical) = (number(content[0..<4]), number(content[4..<8]))
    guard horizontal > 0, vertical > 0, content[8] <= 1 else { return nil }
    let isRatio = content[8] == 0
    // Square pixels are the default.
    guard !isRatio || horizontal != vertical else { return nil }
    return ImageTags.Density(
      horizontal: Double(horizontal), vertical: Double(vertical), isRatio: isRatio)
  }

  /// Returns the EXIF data in a text, or `nil` if it holds none.
  private static func rawProfile(_ chunk: Chunk, in bytes: SharedBytes, nameLength: Int)
    -> EXIFData?
  {
    guard chunk.isSound(in: bytes) else { return nil }
    var content = bytes.slice(chunk.content.dropFirst(nameLength + 1))
    // Two digits per byte, plus line breaks.
    let limit = 3 * exifByteLimit
    switch chunk.type {
    case "zTXt" where !content.isEmpty:
      content = Zlib.inflateWhatCanBe(content.slice(1..<content.count), in: .zlib, limit: limit)
    case "tEXt": content = content.slice(0..<min(content.count, limit))
    default: return nil
    }
    let words = content.array.split { [0x0A, 0x0D, 0x20, 0x09].contains($0) }
    guard words.count > 2, let length = Int(String(decoding: words[1], as: UTF8.self)),
      (1...exifByteLimit).contains(length)
    else { return nil }
    let digits = words[2...].joined().compactMap { Character(UnicodeScalar($0)).hexDigitValue }
    guard digits.count >= 2 * length else { return nil }
    let profile = (0..<length).map { UInt8(digits[2 * $0] << 4 | digits[2 * $0 + 1]) }
    // 'APP1' may also be XMP.
    return EXIFData.mayBegin(profile) ? EXIFData(profile) : nil
  }

  private static func number(_ bytes: ArraySlice<UInt8>) -> Int {
    bytes.reduce(0) { $0 << 8 | Int($1) }
  }

  /// A chunk: a length, a type of four letters, the content, and a checksum of type and content.
  private struct Chunk {
    let type: String
    let content: Range<Int>
    private let checksum: Int

    var end: Int { content.upperBound + 4 }

    /// Reads the chunk at `position`.
    ///
    /// - Returns: `nil` if no complete chunk begins there.
    init?(_ bytes: SharedBytes, at position: Int) {
      guard bytes.count - position >= 12 else { return nil }
      let start = bytes.slice(position..<position + 8).array
      let length = PNGChunks.number(start[0..<4])
      guard length <= bytes.count - position - 12 else { return nil }
      type = String(decoding: start[4..<8], as: UTF8.self)
      content = position + 8..<position + 8 + length
      checksum = PNGChunks.number(
        bytes.slice(content.upperBound..<content.upperBound + 4).array[...])
    }

    func isSound(in bytes: SharedBytes) -> Bool {
      let computed = CRC32.checksum(bytes.slice(content.lowerBound - 4..<content.upperBound))
      return CRC32.isMatch(computed, UInt32(checksum))
    }

    /// Returns the content.
    ///
    /// - Returns: `nil` if the length differs or the checksum is wrong.
    func content(of bytes: SharedBytes, byteCount: Int) -> [UInt8]? {
      content.count == byteCount && isSound(in: bytes) ? bytes.slice(content).array : nil
    }

    /// Returns the keyword of a text: 1 to 79 bytes of Latin-1, terminated by a zero byte.
    func name(in bytes: SharedBytes) -> String {
      let start = bytes.slice(content.prefix(80)).array
      return String(start.prefix { $0 != 0 }.map { Character(UnicodeScalar($0)) })
    }
  }
}

extension ImageOmission {
  package static func frames(_ count: Int) -> ImageOmission {
    ImageOmission(counted(count, "further frame"), "only the first image is read")
  }

  static func trailing(_ byteCount: Int) -> ImageOmission {
    ImageOmission(
      "\(counted(byteCount, "byte")) after the end of the image", "only the first image is read")
  }
}
