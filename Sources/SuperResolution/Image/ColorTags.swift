/// What a file says about the colours that its samples mean. It is carried from input to output
/// unread: the samples themselves are processed as they are stored.
package struct ColorTags: Hashable, Sendable {
  /// The rendering intent of PNG's sRGB chunk, 0 to 3.
  var standardIntent: Int?
  /// PNG's gAMA chunk, in 1/100,000.
  var gamma: Int?
  /// PNG's cHRM chunk: x and y of white, red, green and blue, in 1/100,000; eight numbers.
  var chromaticities: [Int]?
  /// PNG's iCCP chunk, or that of a JPEG file.
  var profile: Profile?

  /// An ICC profile.
  struct Profile: Hashable, Sendable {
    /// 1 to 79 bytes of Latin-1, as PNG stores it.
    var name: [UInt8]
    /// The profile itself, uncompressed.
    var bytes: [UInt8]
  }

  /// Nothing is said of the colours.
  init() {}
}
