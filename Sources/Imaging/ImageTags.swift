import Storage

/// The metadata carried from an input image to its output: the colour space of the samples and the
/// pixel density.
///
/// Colour metadata is passed through uninterpreted; samples are processed as they are stored.
package struct ImageTags: Hashable, Sendable {
  /// The rendering intent of PNG's sRGB chunk, 0 to 3.
  var standardIntent: Int?
  /// PNG's gAMA chunk, in units of 1/100,000.
  package var gamma: Int?
  /// PNG's cHRM chunk: x and y of white, red, green and blue, in units of 1/100,000; eight numbers.
  var chromaticities: [Int]?
  /// PNG's cICP chunk, 4 bytes: ITU-T H.273 codes of the primaries, the transfer function and the
  /// matrix, and the full-range flag.
  var codePoints: [UInt8]?
  /// PNG's mDCV chunk, 24 bytes: the mastering display's colour volume.
  var masteringDisplay: [UInt8]?
  /// PNG's cLLI chunk, 8 bytes: the content light level.
  var lightLevel: [UInt8]?
  /// PNG's iCCP chunk, or a JPEG file's profile.
  var profile: Profile?
  /// PNG's pHYs chunk, or a JPEG file's density.
  var density: Density?

  /// An ICC profile.
  struct Profile: Hashable, Sendable {
    /// The profile's name, 1 to 79 bytes of Latin-1, as PNG stores it.
    var name: [UInt8]
    /// The uncompressed profile.
    var bytes: [UInt8]
  }

  /// The number of pixels per metre.
  struct Density: Hashable, Sendable {
    /// The density along a row; positive.
    var horizontal: Double
    /// The density along a column; positive.
    var vertical: Double
    /// Whether only the ratio of the two numbers is meaningful, as the pixel aspect ratio.
    var isRatio = false

    /// Returns the density of an image with `factor` times as many pixels along the same length.
    func scaled(by factor: Int) -> Density {
      guard !isRatio else { return self }
      return Density(horizontal: horizontal * Double(factor), vertical: vertical * Double(factor))
    }
  }

  /// Creates empty tags.
  init() {}

  /// Returns the tags of an image with `factor` times as many pixels along each side.
  package func upscaled(by factor: Int) -> ImageTags {
    var tags = self
    tags.density = density?.scaled(by: factor)
    return tags
  }
}

extension ImageTags {
  /// Takes the ICC profile of a file whose images have this many colour channels, or returns its
  /// omission.
  mutating func take(profile bytes: [UInt8], channelCount: Int) -> ImageOmission? {
    let profile = Profile(name: Array("ICC profile".utf8), bytes: bytes)
    if let obstacle = profile.obstacle(toChannels: channelCount) {
      return ImageOmission("the colour profile", obstacle)
    }
    self.profile = profile
    return nil
  }

  /// Whether gamma and primaries, if given, are sRGB's. Files state a gamma of 1/2.2 for its curve.
  private var isNearlyStandard: Bool {
    (gamma.map { abs($0 - 45_455) <= 50 } ?? true)
      && (chromaticities.map {
        zip($0, [31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000])
          .allSatisfy { abs($0 - $1) <= 100 }
      } ?? true)
  }

  /// Returns the ICC profile alone, for a file that has a place for nothing else, and the omissions.
  /// The density is left to the caller.
  ///
  /// - Parameters:
  ///   - formatName: The name of the file's format.
  ///   - byteLimit: The largest profile that the file has room for.
  func fittedToProfiles(
    of formatName: String, channelCount: Int, byteLimit: Int = .max
  ) -> (ImageTags, [ImageOmission]) {
    let noPlace = "a \(formatName) file has a place for ICC profiles only"
    var fitted = ImageTags()
    var omissions: [ImageOmission] = []
    if let profile {
      if let obstacle = profile.obstacle(toChannels: channelCount) {
        omissions.append(ImageOmission("the colour profile", obstacle))
      } else if profile.bytes.count > byteLimit {
        omissions.append(
          ImageOmission(
            "the colour profile",
            "its \(counted(profile.bytes.count, "byte")) exceed the \(byteLimit) that a "
              + "\(formatName) file has room for"))
      } else {
        fitted.profile = profile
      }
    } else if standardIntent == nil, !isNearlyStandard {
      // Without a profile, colours are interpreted as sRGB.
      omissions.append(ImageOmission("gamma and primaries (gAMA, cHRM)", noPlace))
    }
    // BT.709's primaries with sRGB's transfer function.
    if let points = codePoints, fitted.profile != nil || points.prefix(2) != [1, 13] {
      omissions.append(ImageOmission("colour code points (cICP)", noPlace))
    }
    if masteringDisplay != nil || lightLevel != nil {
      omissions.append(ImageOmission("the mastering display (mDCV, cLLI)", noPlace))
    }
    return (fitted, omissions)
  }
}

extension ImageTags.Profile {
  /// The kind of images that an ICC profile is for (ICC.1:2022, 7.2): a number of colour channels,
  /// or another colour space by name, such as `CMYK`. Anything that is not an ICC profile is
  /// `none`.
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

  /// Returns why the profile does not fit images with this many colour channels; `nil` if it does.
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

/// An item of an image file that is not carried over to the output, and the reason.
package struct ImageOmission: Codable, Hashable, Sendable {
  /// The item, in a few words.
  package let what: String
  /// The reason, a clause without final punctuation.
  package let reason: String

  /// Creates an omission, with control characters escaped.
  ///
  /// - Parameter what: The item, which may include names from the file.
  package init(_ what: String, _ reason: String) {
    self.what = what.escapingControlCharacters
    self.reason = reason.escapingControlCharacters
  }
}

extension ImageOmission: CustomStringConvertible {
  /// A description such as `EXIF data: only its orientation is applied`.
  package var description: String { "\(what): \(reason)" }
}

extension ImageOmission {
  /// Returns an omission that lists texts by the first of their names, or `nil` without texts.
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

/// A bounded list of names from a file, together with their total number.
struct FirstNames {
  private static let limit = 8
  private var names: [String] = []
  /// The number of names added, including repetitions.
  private(set) var count = 0

  mutating func add(_ name: String) {
    count += 1
    if names.count <= Self.limit, !names.contains(name) { names.append(name) }
  }

  /// The first few names, such as `Author, Title`, followed by "…" if there are more.
  var list: String {
    (names.prefix(Self.limit) + (names.count > Self.limit ? ["…"] : [])).joined(separator: ", ")
  }
}
