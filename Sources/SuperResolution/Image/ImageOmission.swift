import Formats

/// Something that an image file holds and that no other image file gets from it, and why.
package struct ImageOmission: Codable, Hashable, Sendable {
  /// What it is, in a few words.
  package let what: String
  /// Why it is left out: a clause without an end.
  package let reason: String

  /// - Parameter what: may hold names from the file.
  init(_ what: String, _ reason: String) {
    self.what = what.escapingControlCharacters
    self.reason = reason.escapingControlCharacters
  }
}

extension ImageOmission: CustomStringConvertible {
  /// As in `EXIF data: only its orientation is applied`.
  package var description: String { "\(what): \(reason)" }
}

extension ImageOmission {
  /// Texts by their names; at most so many of them are written out.
  static func texts(_ names: [String]) -> ImageOmission? {
    guard !names.isEmpty else { return nil }
    let limit = 5
    let listed =
      names.prefix(limit).map { String($0.prefix(79)) } + (names.count > limit ? ["…"] : [])
    return ImageOmission(
      "\(counted(names.count, "text")) (\(listed.joined(separator: ", ")))",
      "texts about the image are not carried over")
  }

  static var xmp: ImageOmission {
    ImageOmission("XMP data", "it describes the file that it is from")
  }
}
