import Glibc
import SystemPackage

/// Paths by their parts, as in `folder/model.pth`.
extension String {
  /// `model.pth`; empty for the root.
  package var lastPathComponent: String { FilePath(self).lastComponent?.string ?? "" }

  /// What stands before the last component: `folder`; empty where there is nothing.
  package var deletingLastPathComponent: String { FilePath(self).removingLastComponent().string }

  /// `folder/`: what stands before the last component as it is written.
  package var folderPrefix: String {
    let end = utf8.lastIndex(of: UInt8(ascii: "/"))
    return end.map { String(decoding: utf8[...$0], as: UTF8.self) } ?? ""
  }

  /// `pth`, in lower case; empty without one.
  package var pathExtension: String { FilePath(self).extension?.lowercased() ?? "" }

  /// `model`, as a file's name without its extension.
  package var pathStem: String { FilePath(self).stem ?? "" }

  /// Whether a folder is at this path, or a link to one.
  package var isFolder: Bool {
    var status = stat()
    return stat(self, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }

  /// `name` in the folder that this is the path of.
  package func appendingPathComponent(_ name: String) -> String {
    FilePath(self).appending(name).string
  }
}
