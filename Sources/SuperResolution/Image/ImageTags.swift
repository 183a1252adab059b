/// What a file says of its image beside the samples, as far as it is carried from input to output: the
/// colours that the samples mean, and how large a pixel is.
///
/// What is said of colours is carried unread: the samples themselves are processed as they are stored.
package struct ImageTags: Hashable, Sendable {
  /// The rendering intent of PNG's sRGB chunk, 0 to 3.
  var standardIntent: Int?
  /// PNG's gAMA chunk, in 1/100,000.
  var gamma: Int?
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
  func obstacle(toChannels channelCount: Int) -> String? {
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
