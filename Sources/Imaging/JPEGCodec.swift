import CImageCodecs
import Storage

/// JPEG files, read and written by libjpeg-turbo.
///
/// Grey and RGB images of 8 bits are read, baseline and progressive, and turned according to their
/// EXIF orientation. The ICC profile and the density are kept; other contents are listed as
/// omissions. CMYK and truncated files are rejected.
enum JPEGCodec {
  static let signature: [UInt8] = [0xFF, 0xD8, 0xFF]

  /// The largest number of pixels that one byte can hold.
  ///
  /// A block of 64 pixels takes at least one bit with Huffman codes, so a byte holds at most 512
  /// pixels; the limit leaves room for arithmetic coding.
  static let largestExpansion = 2048

  /// Decodes `bytes` as a JPEG file.
  ///
  /// - Throws: `ModelError` without a path if `bytes` are not a complete, valid JPEG file, or if
  ///   its image exceeds the limits.
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
        throw ModelError(
          "its \(width)×\(height) pixels cannot be in a file of \(counted(buffer.count, "byte"))")
      }
      let channelCount = Int(header.channels)
      let count = width * height * channelCount
      let samples = try [UInt8](unsafeUninitializedCapacity: count) { target, filled in
        try CodecMessage.catching("JPEG") {
          condi_jpeg_read_samples(base, buffer.count, &header, target.baseAddress, $0)
        }
        filled = count
      }
      let markers = JPEGMarkers(buffer)
      var tags = ImageTags()
      tags.density = markers.density
      var omissions = markers.omissions
      if let bytes = markers.profile,
        let omission = tags.take(profile: bytes, channelCount: channelCount)
      {
        omissions.append(omission)
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
  /// The bytes of an ICC profile that fit in one segment after its prefix and two numbers.
  private static let profilePieceByteCount = 65_533 - JPEGMarkers.profilePrefix.count - 2

  /// Returns the part of `tags` that a JPEG file can hold, and the omissions.
  static func fitted(_ tags: ImageTags, channelCount: Int) -> (ImageTags, [ImageOmission]) {
    var (fitted, omissions) = tags.fittedToProfiles(
      of: "JPEG", channelCount: channelCount, byteLimit: 255 * profilePieceByteCount)
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

  /// Returns JFIF's unit, 0 for none or 1 for inches, and the two numbers; `nil` if they do not fit
  /// in 16 bits.
  static func storedDensity(_ density: ImageTags.Density) -> (UInt8, UInt16, UInt16)? {
    let factor = density.isRatio ? 1 : 0.0254
    guard let horizontal = UInt16(exactly: (density.horizontal * factor).rounded()),
      let vertical = UInt16(exactly: (density.vertical * factor).rounded()), horizontal > 0,
      vertical > 0
    else { return nil }
    return (density.isRatio ? 0 : 1, horizontal, vertical)
  }
}

/// Contents of a JPEG file besides the pixels.
///
/// Nothing here is an error: damaged segments are treated as absent, and the decoder judges the
/// rest.
struct JPEGMarkers {
  /// The EXIF orientation, 1 to 8; 1, upright, if there is none.
  private(set) var orientation = 1
  /// The ICC profile assembled from its segments; `nil` if there is none or a segment is missing.
  private(set) var profile: [UInt8]?
  /// JFIF's density in pixels per inch or centimetre; `nil` if it has no unit and pixels are
  /// square.
  private(set) var density: ImageTags.Density?
  /// The file's other contents, which are dropped.
  private(set) var omissions: [ImageOmission] = []

  /// The prefix of each piece of an ICC profile (ICC.1:2022, B.4), followed by the piece's number,
  /// from 1, and the number of pieces.
  static let profilePrefix = Array("ICC_PROFILE\0".utf8)

  private static let jfif = Array("JFIF\0".utf8)
  private static let jfifExtension = Array("JFXX\0".utf8)
  private static let xmp = Array("http://ns.adobe.com/x".utf8)
  private static let multiPicture = Array("MPF\0".utf8)
  private static let adobe = Array("Adobe".utf8)

  /// The relevant segments as found in the file.
  private struct Segments {
    var exif: EXIFData?
    var profile = ProfileSegments()
    var comments = 0
    var hasXMP = false
    var hasThumbnail = false
    var hasFurtherImages = false
    /// Names such as `APP4`.
    var others: [String] = []
  }

  init(_ bytes: UnsafeRawBufferPointer) {
    var segments = Segments()
    var position = 2
    var end: Int?
    // A marker is FF and its code; a segment's length follows and includes itself.
    while end == nil, position + 2 <= bytes.count, bytes[position] == 0xFF {
      let code = bytes[position + 1]
      // Fill bytes, standalone markers, and the end of the image.
      if code == 0xFF {
        position += 1
        continue
      }
      if code == 0x01 || (0xD0...0xD7).contains(code) {
        position += 2
        continue
      }
      if code == 0xD9 {
        end = position + 2
        continue
      }
      guard position + 4 <= bytes.count else { break }
      let length = Int(bytes[position + 2]) << 8 | Int(bytes[position + 3])
      let next = position + 2 + length
      guard length >= 2, next <= bytes.count else { break }
      add(code, bytes[position + 4..<next], to: &segments)
      position = code == 0xDA ? Self.endOfScan(bytes, from: next) : next
    }
    orientation = segments.exif?.orientation ?? 1
    profile = segments.profile.bytes
    omissions = segments.profile.omissions + (segments.exif?.omissions ?? [])
    describe(segments, trailing: end.map { bytes.count - $0 } ?? 0)
  }

  private mutating func add(
    _ code: UInt8, _ segment: Slice<UnsafeRawBufferPointer>, to segments: inout Segments
  ) {
    switch code {
    case 0xE0 where segment.starts(with: Self.jfif): readJFIF(Array(segment), &segments)
    case 0xE0 where segment.starts(with: Self.jfifExtension): segments.hasThumbnail = true
    case 0xE1 where segment.starts(with: EXIFData.prefix):
      segments.exif = segments.exif ?? EXIFData(Array(segment))
    case 0xE1 where segment.starts(with: Self.xmp): segments.hasXMP = true
    case 0xE2 where segment.starts(with: Self.profilePrefix):
      segments.profile.add(Array(segment.dropFirst(Self.profilePrefix.count)))
    case 0xE2 where segment.starts(with: Self.multiPicture): segments.hasFurtherImages = true
    // The colour transform, which the decoder takes into account.
    case 0xEE where segment.starts(with: Self.adobe): break
    case 0xFE: segments.comments += 1
    case 0xE0...0xEF:
      let name = "APP\(code - 0xE0)"
      if !segments.others.contains(name) { segments.others.append(name) }
    default: break
    }
  }

  /// Reads the version, units, both densities and the thumbnail's size (ITU-T T.871, 10.1).
  private mutating func readJFIF(_ segment: [UInt8], _ segments: inout Segments) {
    guard segment.count >= 14 else { return }
    let horizontal = Double(Int(segment[8]) << 8 | Int(segment[9]))
    let vertical = Double(Int(segment[10]) << 8 | Int(segment[11]))
    if segment[12] > 0, segment[13] > 0 { segments.hasThumbnail = true }
    guard density == nil, horizontal > 0, vertical > 0 else { return }
    let factors: [UInt8: Double] = [1: 1 / 0.0254, 2: 100]
    if let factor = factors[segment[7]] {
      density = .init(horizontal: horizontal * factor, vertical: vertical * factor)
    } else if segment[7] == 0, horizontal != vertical {
      density = .init(horizontal: horizontal, vertical: vertical, isRatio: true)
    }
  }

  /// Returns the offset of the marker after a scan's data, in which FF is followed by 0 or a
  /// restart marker's code.
  private static func endOfScan(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Int {
    var position = start
    while position + 1 < bytes.count {
      if bytes[position] == 0xFF {
        let code = bytes[position + 1]
        if code != 0, !(0xD0...0xD7).contains(code) { return position }
        position += 1
      }
      position += 1
    }
    return bytes.count
  }

  private mutating func describe(_ segments: Segments, trailing: Int) {
    if segments.hasThumbnail {
      omissions.append(ImageOmission("the thumbnail", "it shows the image as it was"))
    }
    if segments.hasXMP { omissions.append(.xmp) }
    if segments.comments > 0 {
      omissions.append(
        ImageOmission(
          counted(segments.comments, "comment"), "texts about the image are not carried over"))
    }
    if !segments.others.isEmpty {
      omissions.append(
        ImageOmission(
          "data of applications (\(segments.others.joined(separator: ", ")))",
          "it is not carried over"))
    }
    if segments.hasFurtherImages {
      omissions.append(
        ImageOmission("further images of the file (MPF)", "only the first image is read"))
    } else if trailing > 0 {
      omissions.append(.trailing(trailing))
    }
  }
}

/// The segments of an ICC profile in a JPEG file, in any order.
private struct ProfileSegments {
  private var contents: [Int: [UInt8]] = [:]
  /// The numbers of segments that occur more than once.
  private var repeated: Set<Int> = []
  private var count: Int?
  /// The reason there is no profile although segments of one exist.
  private var obstacle: String?
  private(set) var omissions: [ImageOmission] = []

  private static let what = "the colour profile"

  /// Adds a segment.
  ///
  /// - Parameter segment: The segment's number, from 1, the number of segments, and the content.
  mutating func add(_ segment: [UInt8]) {
    guard segment.count >= 2 else {
      obstacle = obstacle ?? "a segment of it is too short"
      return
    }
    let (number, count) = (Int(segment[0]), Int(segment[1]))
    let content = Array(segment[2...])
    if let known = self.count, known != count {
      obstacle = obstacle ?? "one segment counts \(known) segments and another \(count)"
    }
    if number == 0 || number > count {
      obstacle = obstacle ?? "there is a segment \(number) of \(count)"
    }
    if let known = contents[number] {
      if known == content {
        guard repeated.insert(number).inserted else { return }
        omissions.append(
          ImageOmission(
            "segment \(number) of \(Self.what) that is there again", "its bytes are the same"))
      } else {
        obstacle = obstacle ?? "there are two segments \(number) of \(count), which differ"
      }
    }
    self.count = self.count ?? count
    contents[number] = content
  }

  /// The profile, or `nil` if there is none or its segments are invalid.
  ///
  /// Reading this property adds the reason to `omissions`.
  var bytes: [UInt8]? {
    mutating get {
      guard let count else {
        if let obstacle { omissions.append(ImageOmission(Self.what, obstacle)) }
        return nil
      }
      let missing = (0..<count).map { $0 + 1 }.filter { contents[$0] == nil }
      if obstacle == nil, !missing.isEmpty {
        let numbers = missing.prefix(5).map(String.init).joined(separator: ", ")
        obstacle =
          "of its \(count) segments \(missing.count == 1 ? "number" : "numbers") \(numbers)"
          + (missing.count > 5 ? " and more" : "") + " \(missing.count == 1 ? "is" : "are") missing"
      }
      if let obstacle {
        omissions.append(ImageOmission(Self.what, obstacle))
        return nil
      }
      let bytes = (0..<count).flatMap { contents[$0 + 1] ?? [] }
      return bytes.isEmpty ? nil : bytes
    }
  }
}
