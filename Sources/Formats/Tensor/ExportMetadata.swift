import Storage

/// The metadata entry in which exported files record the changes made by the export.
enum ExportMetadata {
  /// The entry's name.
  static let key = "condi.export"

  /// Returns the full names in an entry's text, by the names in the file; empty for text of another
  /// form.
  static func fullNames(in text: String) -> [String: String] {
    guard case .object(let members)? = try? JSONDocument.parse(SharedBytes(text.utf8)),
      case .object(let names)? = members["names"]
    else { return [:] }
    return names.reduce(into: [:]) { found, pair in
      if case .string(let full) = pair.value { found[pair.key] = full }
    }
  }
}
