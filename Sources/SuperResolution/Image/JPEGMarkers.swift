/// What precedes the pixels of a JPEG file and libjpeg-turbo's simple interface does not tell: the EXIF
/// orientation and the ICC profile.
///
/// Nothing here is an error: what is damaged counts as absent, and the decoder judges the rest.
struct JPEGMarkers {
  /// EXIF's orientation, 1 to 8; 1, upright, where there is none.
  private(set) var orientation = 1
  /// The ICC profile, put together from its pieces; `nil` where there is none or a piece lacks.
  private(set) var profile: [UInt8]?

  private static let exif = Array("Exif\0\0".utf8)
  private static let icc = Array("ICC_PROFILE\0".utf8)

  init(_ bytes: UnsafeRawBufferPointer) {
    var pieces: [Int: [UInt8]] = [:]
    var pieceCount = 0
    var position = 2
    // A marker is FF and its code; a segment's length follows and counts itself.
    while position + 4 <= bytes.count, bytes[position] == 0xFF {
      let code = bytes[position + 1]
      if code == 0xFF {
        position += 1
        continue
      }
      let length = Int(bytes[position + 2]) << 8 | Int(bytes[position + 3])
      let end = position + 2 + length
      // SOS: pixels begin.
      guard code != 0xDA, length >= 2, end <= bytes.count else { break }
      let segment = bytes[position + 4..<end]
      if code == 0xE1, segment.starts(with: Self.exif) {
        orientation = Self.orientation(inTIFF: Array(segment.dropFirst(Self.exif.count))) ?? 1
      } else if code == 0xE2, segment.starts(with: Self.icc), segment.count > Self.icc.count + 2 {
        let content = Array(segment.dropFirst(Self.icc.count))
        pieces[Int(content[0])] = Array(content.dropFirst(2))
        pieceCount = Int(content[1])
      }
      position = end
    }
    if pieceCount > 0, pieces.count == pieceCount,
      (1...pieceCount).allSatisfy({ pieces[$0] != nil })
    {
      profile = (1...pieceCount).flatMap { pieces[$0] ?? [] }
    }
  }

  /// Tag 0x0112 of the first directory of a TIFF structure (TIFF 6.0, section 2).
  private static func orientation(inTIFF bytes: [UInt8]) -> Int? {
    guard bytes.count >= 8 else { return nil }
    let isLittle: Bool
    switch Array(bytes[0..<2]) {
    case Array("II".utf8): isLittle = true
    case Array("MM".utf8): isLittle = false
    default: return nil
    }
    func number(at offset: Int, byteCount: Int) -> Int? {
      guard offset >= 0, offset <= bytes.count - byteCount else { return nil }
      let digits = bytes[offset..<offset + byteCount]
      return (isLittle ? Array(digits.reversed()) : Array(digits)).reduce(0) { $0 << 8 | Int($1) }
    }
    guard let directory = number(at: 4, byteCount: 4),
      let entryCount = number(at: directory, byteCount: 2)
    else { return nil }
    for index in 0..<entryCount {
      let entry = directory + 2 + 12 * index
      guard let tag = number(at: entry, byteCount: 2) else { return nil }
      guard tag == 0x0112 else { continue }
      guard let value = number(at: entry + 8, byteCount: 2), (1...8).contains(value) else {
        return nil
      }
      return value
    }
    return nil
  }
}

extension RasterImage {
  /// The picture upright, where `orientation` is EXIF's: which edges the first row and column are.
  func turned(by orientation: Int) -> RasterImage {
    guard (2...8).contains(orientation) else { return self }
    let swapsSides = orientation >= 5
    let (newWidth, newHeight) = swapsSides ? (height, width) : (width, height)
    var turned = [UInt16](repeating: 0, count: samples.count)
    for y in 0..<newHeight {
      for x in 0..<newWidth {
        let (fromX, fromY) =
          switch orientation {
          case 2: (width - 1 - x, y)
          case 3: (width - 1 - x, height - 1 - y)
          case 4: (x, height - 1 - y)
          case 5: (y, x)
          case 6: (y, height - 1 - x)
          case 7: (width - 1 - y, height - 1 - x)
          default: (width - 1 - y, x)
          }
        let (from, to) = ((fromY * width + fromX) * channelCount, (y * newWidth + x) * channelCount)
        for channel in 0..<channelCount { turned[to + channel] = samples[from + channel] }
      }
    }
    return RasterImage(
      width: newWidth, height: newHeight, channelCount: channelCount, bitDepth: bitDepth,
      samples: turned, tags: tags)
  }
}
