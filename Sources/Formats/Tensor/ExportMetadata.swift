import Storage

/// The metadata entry in which exported files say what exporting did.
enum ExportMetadata {
  /// The entry's name.
  static let key = "condi.export"

  /// The full names in an entry's text, by the names in the file; none where it is not of this form.
  static func fullNames(in text: String) -> [String: String] {
    guard case .object(let members)? = try? JSONDocument.parse(SharedBytes(text.utf8)),
      case .object(let names)? = members["names"]
    else { return [:] }
    return names.reduce(into: [:]) { found, pair in
      if case .string(let full) = pair.value { found[pair.key] = full }
    }
  }
}
