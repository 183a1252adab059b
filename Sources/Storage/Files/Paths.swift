import Glibc
import SystemPackage

/// Components of a path; the examples are those of `folder/model.pth`.
extension String {
  /// `model.pth`; empty for the root.
  package var lastPathComponent: String { FilePath(self).lastComponent?.string ?? "" }

  /// The path without its last component: `folder`; empty if there is only one component.
  package var deletingLastPathComponent: String { FilePath(self).removingLastComponent().string }

  /// The path up to and including its last slash, verbatim: `folder/`.
  package var folderPrefix: String {
    let end = utf8.lastIndex(of: UInt8(ascii: "/"))
    return end.map { String(decoding: utf8[...$0], as: UTF8.self) } ?? ""
  }

  /// `pth`, in lower case; empty if there is no extension.
  package var pathExtension: String { FilePath(self).extension?.lowercased() ?? "" }

  /// `model`, the last component without its extension.
  package var pathStem: String { FilePath(self).stem ?? "" }

  /// Whether a folder is at this path, or a link to one.
  package var isFolder: Bool {
    var status = stat()
    return stat(self, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }

  /// Returns the path of `name` inside the folder at this path.
  package func appendingPathComponent(_ name: String) -> String {
    FilePath(self).appending(name).string
  }
}
