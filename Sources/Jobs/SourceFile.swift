import Formats
import Foundation

/// A file that a model was read from, as it was then.
package struct SourceFile: Hashable, Sendable {
  package let path: String
  package let byteCount: Int
  /// When it was last changed: nanoseconds since 1970.
  package let modification: Int

  /// - Throws: `FormatError` when there is no such file.
  package init(path: String) throws {
    var status = stat()
    guard stat(path, &status) == 0 else {
      throw FormatError(.system(operation: "read the file's status", code: errno), path: path)
    }
    self.path = path
    byteCount = Int(status.st_size)
    modification = Int(status.st_mtim.tv_sec) * 1_000_000_000 + Int(status.st_mtim.tv_nsec)
  }

  /// Whether the file is as it was; a file that is gone is not.
  package var isUnchanged: Bool { (try? SourceFile(path: path)) == self }

  /// Whether nothing has the file's name any more, or an empty file: it is emptied before it is deleted.
  var isGone: Bool {
    var status = stat()
    return stat(path, &status) == 0 ? status.st_size == 0 : errno == ENOENT
  }
}

extension SourceFile {
  init(parsing json: JSONValue) throws {
    var members = try JSONMembers(json, subject: "a source of the plan")
    path = try members.require("path", members.takeString("path"))
    byteCount = try members.require("byteCount", members.takeCount("byteCount"))
    modification = try members.require("modification", members.takeInteger("modification"))
  }

  var json: JSONValue {
    .object([
      "path": .string(path), "byteCount": .integer(byteCount),
      "modification": .integer(modification),
    ])
  }
}
