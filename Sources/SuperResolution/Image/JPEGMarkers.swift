import Formats

/// What is in a JPEG file beside the pixels, which libjpeg-turbo's simple interface does not tell.
///
/// Nothing here is an error: what is damaged counts as absent, and the decoder judges the rest.
struct JPEGMarkers {
  /// EXIF's orientation, 1 to 8; 1, upright, where there is none.
  private(set) var orientation = 1
  /// The ICC profile, put together from its segments; `nil` where there is none or a segment lacks.
  private(set) var profile: [UInt8]?
  /// JFIF's pixels per inch or centimetre; `nil` where it says neither, or that pixels are square.
  private(set) var density: ImageTags.Density?
  /// What the file holds beside that.
  private(set) var omissions: [ImageOmission] = []

  /// What precedes the pieces of an ICC profile (ICC.1:2022, B.4): a number from 1 and how many follow.
  static let profilePrefix = Array("ICC_PROFILE\0".utf8)

  private static let jfif = Array("JFIF\0".utf8)
  private static let jfifExtension = Array("JFXX\0".utf8)
  private static let xmp = Array("http://ns.adobe.com/x".utf8)
  private static let multiPicture = Array("MPF\0".utf8)
  private static let adobe = Array("Adobe".utf8)

  /// The segments that are of interest, as they were found.
  private struct Segments {
    var exif: EXIFData?
    var profile = ProfileSegments()
    var comments = 0
    var hasXMP = false
    var hasThumbnail = false
    var hasFurtherImages = false
    /// `APP4` and the like.
    var others: [String] = []
  }

  init(_ bytes: UnsafeRawBufferPointer) {
    var segments = Segments()
    var position = 2
    var end: Int?
    // A marker is FF and its code; a segment's length follows and counts itself.
    while end == nil, position + 2 <= bytes.count, bytes[position] == 0xFF {
      let code = bytes[position + 1]
      // Fill bytes; markers that stand alone; the end.
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
    // How colours are coded, which the decoder heeds.
    case 0xEE where segment.starts(with: Self.adobe): break
    case 0xFE: segments.comments += 1
    case 0xE0...0xEF:
      let name = "APP\(code - 0xE0)"
      if !segments.others.contains(name) { segments.others.append(name) }
    default: break
    }
  }

  /// Version, units, both densities, and the sides of a thumbnail (ITU-T T.871, 10.1).
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

  /// Where the marker after a scan's data is: in them FF is followed by 0, or a restart marker's code.
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

/// The segments of an ICC profile in a JPEG file, in whatever order.
private struct ProfileSegments {
  private var contents: [Int: [UInt8]] = [:]
  /// Numbers of segments that are there more than once.
  private var repeated: Set<Int> = []
  private var count: Int?
  /// Why there is no profile, though there are segments of one.
  private var obstacle: String?
  private(set) var omissions: [ImageOmission] = []

  private static let what = "the colour profile"

  /// - Parameter segment: its number from 1, how many there are, and the content.
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

  /// The profile; `nil` where there is none, and where something is wrong with its segments.
  ///
  /// Afterwards `omissions` says what.
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
