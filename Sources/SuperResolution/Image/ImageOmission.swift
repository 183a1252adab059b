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
