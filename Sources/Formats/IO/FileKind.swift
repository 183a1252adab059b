import Foundation

/// What a path leads to.
enum FileKind: String {
  case regular = "a regular file"
  case folder = "a directory"
  case device = "a device"
  case pipe = "a pipe"
  case socket = "a socket"
  case link = "a symbolic link"

  init(_ status: stat) {
    self =
      switch status.st_mode & S_IFMT {
      case S_IFREG: .regular
      case S_IFDIR: .folder
      case S_IFIFO: .pipe
      case S_IFSOCK: .socket
      case S_IFLNK: .link
      default: .device
      }
  }

  /// Why neither reading nor writing it makes sense.
  var refusal: String { "not a regular file but \(rawValue)" }
}
