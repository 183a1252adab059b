import FoundationEssentials
import Glibc

/// Files named by a model file, located in its folder or below.
///
/// A name from a file is untrusted: it must be a relative path without `..`. Symbolic links below
/// the folder are followed, because download caches consist of them, and because anyone who can put
/// a link there could also put the file there.
package struct SiblingFiles: Sendable {
  /// The folder as a path prefix: empty, or ending with a slash.
  package let prefix: String
  package let access: InputFile.Access

  package static let nameByteCountLimit = 4096

  /// Creates a view of the files in the folder of `file`.
  package init(beside file: InputFile) {
    prefix = file.path.folderPrefix
    access = file.access
  }

  /// Returns the path of the file `name`.
  ///
  /// - Throws: `ModelError` if the name would leave the folder.
  package func path(of name: String) throws -> String {
    let parts = name.split(separator: "/", omittingEmptySubsequences: false)
    guard !name.isEmpty, !parts.contains(""), !parts.contains("."), !parts.contains("..") else {
      throw ModelError.unsupported(
        "the file name '\(name)' is not a plain path below the folder of the file that names it")
    }
    guard !name.utf8.contains(0), name.utf8.count <= Self.nameByteCountLimit else {
      throw ModelError.malformed("a file name contains a NUL or exceeds 4096 bytes")
    }
    return prefix + name
  }

  /// Opens the file `name`.
  package func open(_ name: String) throws -> InputFile {
    try InputFile(path: path(of: name), access: access)
  }

  /// Whether `name` exists, readable or not.
  package func exists(_ name: String) throws -> Bool {
    FileManager.default.fileExists(atPath: try path(of: name))
  }

  /// Returns the names in the folder, sorted by their bytes, or no names if it cannot be listed.
  package func names() -> [String] {
    let folder = prefix.isEmpty ? "." : prefix
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    return names.sortedByBytes()
  }
}

extension Sequence<String> {
  /// Returns the strings sorted by their UTF-8 bytes, an order that is the same on every machine.
  package func sortedByBytes() -> [String] {
    sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  /// Returns the first few strings in quotes, for messages: `'a', 'b' and 3 more`.
  package func quotedList(limit: Int = 5) -> String {
    let names = Array(self)
    let shown = names.prefix(limit).map { "'\($0)'" }.joined(separator: ", ")
    return names.count > limit ? "\(shown) and \(names.count - limit) more" : shown
  }
}
