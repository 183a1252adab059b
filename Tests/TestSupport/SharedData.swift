import Foundation
import Testing

/// The real files at `../shared/data`, beside the package and not part of it.
public enum SharedData {
  /// Whether a test whose files are missing fails instead of being skipped, which
  /// `CONDI_REQUIRE_SHARED=1` selects.
  public static let isRequired =
    ProcessInfo.processInfo.environment["CONDI_REQUIRE_SHARED"] == "1"

  public static let root = PackageFolder.root.appending(path: "../shared/data").standardizedFileURL

  /// A trait that skips a test or suite where `path`, below the root, is absent.
  public static func require(_ path: String) -> ConditionTrait {
    .enabled(
      if: isRequired || isAvailable(path),
      "needs \(root.path)/\(path), which is absent; CONDI_REQUIRE_SHARED=1 makes this a failure")
  }

  public static func isAvailable(_ path: String) -> Bool {
    FileManager.default.fileExists(atPath: root.appending(path: path).path)
  }

  /// Returns the absolute path of a file or folder.
  ///
  /// - Throws: `MissingFile` when it is absent, so that a required test fails.
  public static func path(_ path: String) throws -> String {
    let url = root.appending(path: path)
    guard FileManager.default.fileExists(atPath: url.path) else {
      throw MissingFile(path: url.path)
    }
    return url.path
  }
}

/// An error of tests that need a missing file.
public struct MissingFile: Error, CustomStringConvertible {
  public let path: String
  public var description: String { "\(path) is missing" }
}
