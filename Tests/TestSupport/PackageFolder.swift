import Foundation

/// The paths of the package's own files.
public enum PackageFolder {
  public static let root = URL(filePath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  /// Returns the path of a committed fixture below `Tests/Fixtures`.
  ///
  /// - Throws: `MissingFile` when it is absent.
  public static func fixture(_ name: String) throws -> String {
    let path = root.appending(path: "Tests/Fixtures/\(name)").path
    guard FileManager.default.fileExists(atPath: path) else { throw MissingFile(path: path) }
    return path
  }
}
