import Foundation

/// A folder that exists while a test runs.
public struct TemporaryFolder: Sendable {
  public let path: String

  public func appending(_ name: String) -> String { "\(path)/\(name)" }

  /// Returns the names in the folder, including hidden ones.
  public func names() throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: path).sorted()
  }
}

/// Calls `body` with a new folder and removes it afterwards, whatever happened.
public func withTemporaryFolder<Result>(
  _ body: (TemporaryFolder) throws -> Result
) throws -> Result {
  let url = FileManager.default.temporaryDirectory.appending(path: "condi-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: url) }
  return try body(TemporaryFolder(path: url.path))
}
