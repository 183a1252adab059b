import Storage

/// What a file says of its image beside the samples, as far as it is carried from input to output: the
/// colours that the samples mean, and how large a pixel is.
///
/// What is said of colours is carried unread: the samples themselves are processed as they are stored.
package struct ImageTags: Hashable, Sendable {
  /// The rendering intent of PNG's sRGB chunk, 0 to 3.
  var standardIntent: Int?
  /// PNG's gAMA chunk, in 1/100,000.
  package var gamma: Int?
  /// PNG's cHRM chunk: x and y of white, red, green and blue, in 1/100,000; eight numbers.
  var chromaticities: [Int]?
  /// PNG's cICP chunk, 4 bytes: numbers of ITU-T H.273 for primaries, transfer function and matrix, and
  /// whether samples take their full range.
  var codePoints: [UInt8]?
  /// PNG's mDCV chunk, 24 bytes: the display that the image was made on.
  var masteringDisplay: [UInt8]?
  /// PNG's cLLI chunk, 8 bytes: how bright the image becomes.
  var lightLevel: [UInt8]?
  /// PNG's iCCP chunk, or the profile of a JPEG file.
  var profile: Profile?
  /// PNG's pHYs chunk, or the density of a JPEG file.
  var density: Density?

  /// An ICC profile.
  struct Profile: Hashable, Sendable {
    /// 1 to 79 bytes of Latin-1, as PNG stores it.
    var name: [UInt8]
    /// The profile itself, uncompressed.
    var bytes: [UInt8]
  }

  /// How many pixels there are along a metre.
  struct Density: Hashable, Sendable {
    /// Along a row; positive.
    var horizontal: Double
    /// Along a column; positive.
    var vertical: Double
    /// Whether the numbers are only to be compared with one another: they tell the shape of a pixel.
    var isRatio = false

    /// That of an image with `factor` times as many pixels along the same length.
    func scaled(by factor: Int) -> Density {
      guard !isRatio else { return self }
      return Density(horizontal: horizontal * Double(factor), vertical: vertical * Double(factor))
    }
  }

  /// Nothing is said.
  init() {}

  /// The tags of the image with `factor` times as many pixels along each side.
  package func enlarged(by factor: Int) -> ImageTags {
    var tags = self
    tags.density = density?.scaled(by: factor)
    return tags
  }
}

extension ImageTags.Profile {
  /// The channels of the images that the profile is for, its own name for others' colours, as in `CMYK`,
  /// or neither for what is no ICC profile (ICC.1:2022, 7.2).
  enum Colors: Hashable {
    case channels(Int)
    case others(String)
    case none
  }

  var colors: Colors {
    guard bytes.count >= 128, Array(bytes[36..<40]) == Array("acsp".utf8) else { return .none }
    let space = String(decoding: bytes[16..<20], as: UTF8.self)
    switch space {
    case "GRAY": return .channels(1)
    case "RGB ": return .channels(3)
    default: return .others(space.filter { $0 != " " })
    }
  }

  /// Why the profile is not one for images of so many colour channels; `nil` where it is.
  package func obstacle(toChannels channelCount: Int) -> String? {
    let names = [1: "grey", 3: "RGB"]
    switch colors {
    case .channels(channelCount): return nil
    case .channels(let other):
      return "it is for \(names[other] ?? "") images, and this one is \(names[channelCount] ?? "")"
    case .others(let space):
      return "it is for \(space) colours, and the image is \(names[channelCount] ?? "")"
    case .none: return "it is no ICC profile"
    }
  }
}

/// Something that an image file holds and that no other image file gets from it, and why.
package struct ImageOmission: Codable, Hashable, Sendable {
  /// What it is, in a few words.
  package let what: String
  /// Why it is left out: a clause without an end.
  package let reason: String

  /// - Parameter what: may hold names from the file.
  package init(_ what: String, _ reason: String) {
    self.what = what.escapingControlCharacters
    self.reason = reason.escapingControlCharacters
  }
}

extension ImageOmission: CustomStringConvertible {
  /// As in `EXIF data: only its orientation is applied`.
  package var description: String { "\(what): \(reason)" }
}

extension ImageOmission {
  /// Texts by the first of their names.
  static func texts(_ names: FirstNames) -> ImageOmission? {
    guard names.count > 0 else { return nil }
    return ImageOmission(
      "\(counted(names.count, "text")) (\(names.list))",
      "texts about the image are not carried over")
  }

  static var xmp: ImageOmission {
    ImageOmission("XMP data", "it describes the file that it is from")
  }
}

/// Names that a file may have any number of, of which a few are written out.
struct FirstNames {
  private static let limit = 8
  private var names: [String] = []
  /// How many were added, names that were there already included.
  private(set) var count = 0

  mutating func add(_ name: String) {
    count += 1
    if names.count <= Self.limit, !names.contains(name) { names.append(name) }
  }

  /// As in `Author, Title`; others than the first are "…".
  var list: String {
    (names.prefix(Self.limit) + (names.count > Self.limit ? ["…"] : [])).joined(separator: ", ")
  }
}
