/// The part of EXIF data that an image needs: a TIFF structure (TIFF 6.0, section 2) whose first
/// directory holds the orientation.
struct EXIFData: Hashable {
  /// The orientation, 1 to 8: which edges the first row and column are. The default is 1, upright.
  private(set) var orientation = 1
  /// The items that are dropped after the orientation has been applied.
  private(set) var omissions: [ImageOmission] = []

  /// The bytes that precede the structure in JPEG files.
  static let prefix = Array("Exif\0\0".utf8)

  private static let orientationTag = 0x0112

  /// Whether `bytes` begin like EXIF data.
  static func mayBegin(_ bytes: [UInt8]) -> Bool {
    bytes.starts(with: prefix) || bytes.starts(with: "II*\0".utf8)
      || bytes.starts(with: "MM\0*".utf8)
  }

  /// Parses a TIFF structure, with or without `prefix`. Damaged parts are treated as absent and
  /// listed among the omissions.
  init(_ bytes: [UInt8]) {
    let start = bytes.starts(with: Self.prefix) ? Self.prefix.count : 0
    guard let structure = TIFFStructure(Array(bytes[start...])) else {
      omissions = [ImageOmission("EXIF data", "it is damaged")]
      return
    }
    var otherCount = 0
    var oddOrientation: String?
    for entry in structure.entries {
      if entry.tag != Self.orientationTag {
        otherCount += 1
      } else if let value = entry.value, (1...8).contains(value) {
        orientation = value
      } else if entry.value != 0 {
        oddOrientation = entry.value.map(String.init) ?? "no number"
      }
    }
    if let oddOrientation {
      omissions.append(
        ImageOmission("the orientation in the EXIF data", "it is \(oddOrientation), not 1 to 8"))
    }
    if !structure.isWhole || otherCount > 0 {
      omissions.append(
        ImageOmission(
          "EXIF data",
          structure.isWhole ? "only its orientation is applied" : "it is damaged"))
    }
    if structure.hasFurtherDirectory {
      omissions.append(
        ImageOmission("the thumbnail in the EXIF data", "it shows the image as it was"))
    }
  }
}

/// The first directory of a TIFF structure.
private struct TIFFStructure {
  struct Entry {
    let tag: Int
    /// The first value if it has 16 or 32 bits; `nil` for other types.
    let value: Int?
  }

  private(set) var entries: [Entry] = []
  /// Whether every entry of the directory is present.
  private(set) var isWhole = false
  private(set) var hasFurtherDirectory = false

  init?(_ bytes: [UInt8]) {
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
      let count = number(at: directory, byteCount: 2)
    else { return nil }
    for index in 0..<count {
      let place = directory + 2 + 12 * index
      guard let tag = number(at: place, byteCount: 2),
        let type = number(at: place + 2, byteCount: 2),
        let long = number(at: place + 8, byteCount: 4)
      else { return }
      let value = type == 3 ? number(at: place + 8, byteCount: 2) : type == 4 ? long : nil
      entries.append(Entry(tag: tag, value: value))
    }
    isWhole = true
    hasFurtherDirectory = (number(at: directory + 2 + 12 * count, byteCount: 4) ?? 0) != 0
  }
}

extension RasterImage {
  /// Returns the image upright, given its EXIF `orientation`: which edges the first row and column
  /// are.
  package func turned(by orientation: Int) -> RasterImage {
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
    var tags = tags
    if swapsSides, let density = tags.density {
      tags.density?.horizontal = density.vertical
      tags.density?.vertical = density.horizontal
    }
    var image = RasterImage(
      width: newWidth, height: newHeight, channelCount: channelCount, bitDepth: bitDepth,
      samples: turned, tags: tags)
    image.omissions = omissions
    return image
  }
}
