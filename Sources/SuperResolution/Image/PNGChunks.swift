import Formats

/// What a PNG file says of its image in chunks that libpng does not know in every version, or stores
/// without a bound (ISO/IEC 15948:2024, section 11).
///
/// Nothing here is an error: what is damaged counts as absent, and libpng judges the rest.
struct PNGChunks {
  /// Code points, the display and light levels, and the density; libpng tells the other tags.
  private(set) var tags = ImageTags()
  /// EXIF's orientation, 1 to 8; 1, upright, where there is none.
  private(set) var orientation = 1
  /// Whether there is an iCCP chunk, which libpng may refuse.
  private(set) var hasProfile = false
  /// What the file holds beside that.
  private(set) var omissions: [ImageOmission] = []

  /// What libpng reads, and the chunks of animations, which their frames stand for.
  private static let known: Set<String> = [
    "IHDR", "PLTE", "IDAT", "IEND", "tRNS", "gAMA", "cHRM", "sRGB", "fcTL", "fdAT",
  ]
  /// How ImageMagick and its like store EXIF data: a text with a name, a length and hexadecimal digits.
  private static let rawProfiles = ["Raw profile type exif", "Raw profile type APP1"]
  /// EXIF data of a JPEG file are at most 64 KiB, and so are those that are taken from texts.
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
    // Square pixels are what everybody expects.
    guard !isRatio || horizontal != vertical else { return nil }
    return ImageTags.Density(
      horizontal: Double(horizontal), vertical: Double(vertical), isRatio: isRatio)
  }

  /// EXIF data in a text; `nil` where there are none in it.
  private static func rawProfile(_ chunk: Chunk, in bytes: SharedBytes, nameLength: Int)
    -> EXIFData?
  {
    guard chunk.isSound(in: bytes) else { return nil }
    var content = bytes.slice(chunk.content.dropFirst(nameLength + 1))
    // Two digits and line breaks for each byte.
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
    // 'APP1' may be XMP as well.
    return EXIFData.mayBegin(profile) ? EXIFData(profile) : nil
  }

  private static func number(_ bytes: ArraySlice<UInt8>) -> Int {
    bytes.reduce(0) { $0 << 8 | Int($1) }
  }

  /// A length, a type of four letters, the content and a checksum of the type and content.
  private struct Chunk {
    let type: String
    let content: Range<Int>
    private let checksum: Int

    var end: Int { content.upperBound + 4 }

    /// - Returns: `nil` where no whole chunk begins.
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

    /// - Returns: `nil` for another length and a wrong checksum.
    func content(of bytes: SharedBytes, byteCount: Int) -> [UInt8]? {
      content.count == byteCount && isSound(in: bytes) ? bytes.slice(content).array : nil
    }

    /// The keyword of a text: Latin-1, 1 to 79 bytes before a zero.
    func name(in bytes: SharedBytes) -> String {
      let start = bytes.slice(content.prefix(80)).array
      return String(start.prefix { $0 != 0 }.map { Character(UnicodeScalar($0)) })
    }
  }
}

extension ImageOmission {
  static func frames(_ count: Int) -> ImageOmission {
    ImageOmission(counted(count, "further frame"), "only the first image is read")
  }

  static func trailing(_ byteCount: Int) -> ImageOmission {
    ImageOmission(
      "\(counted(byteCount, "byte")) after the end of the image", "only the first image is read")
  }
}
