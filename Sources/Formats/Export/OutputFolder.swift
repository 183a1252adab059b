import Foundation

/// A folder that output files go to, made when it is not there.
struct OutputFolder {
  private let path: String
  private let isCreated: Bool

  /// - Throws: `FormatError` when something else is at `path`, or the folder cannot be made.
  init(creating path: String) throws {
    self.path = path
    isCreated = mkdir(path, 0o777) == 0
    guard isCreated || errno == EEXIST else {
      throw FormatError(.system(operation: "create the folder", code: errno), path: path)
    }
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
      throw FormatError(.system(operation: "write into it", code: ENOTDIR), path: path)
    }
  }

  /// Removes the folder again if it was made and nothing is in it.
  func removeIfCreated() {
    if isCreated { rmdir(path) }
  }
}
