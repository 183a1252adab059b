import Foundation
import TestSupport
import Testing

/// The published JSON Schemas, in the folder `schemas`.
enum Schema {
  private static let suffix = ".schema.json"

  /// Returns the names of all schemas, without the suffix.
  static func names() throws -> [String] {
    let folder = PackageFolder.root.appending(path: "schemas").path
    return try FileManager.default.contentsOfDirectory(atPath: folder).map { file in
      try #require(file.hasSuffix(suffix), "\(file)")
      return String(file.dropLast(suffix.count))
    }.sorted()
  }

  /// Checks that a schema accepts all of `documents` and refuses an invalid one.
  ///
  /// A schema that accepts everything would prove nothing.
  static func expectValid(
    _ documents: [String], _ schema: String, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    try withTemporaryFolder { folder in
      let nonsense = folder.appending("nonsense.json")
      try Data(#"{"schemaVersion": "one"}"#.utf8).write(to: URL(filePath: nonsense))
      var paths: [String] = []
      for (index, document) in documents.enumerated() {
        paths.append(folder.appending("document\(index).json"))
        try Data(document.utf8).write(to: URL(filePath: paths[index]))
      }
      let outcome = try Python.run(
        ["Tests/Fixtures/interop/validate_json.py", "schemas/\(schema)\(suffix)"] + paths
          + [nonsense])
      let complaints = outcome.standardError.split(separator: "\n")
      let refusals = complaints.filter { $0.hasPrefix("\(nonsense): ") }
      #expect(outcome.exitCode == 1, "\(schema)", sourceLocation: sourceLocation)
      #expect(!refusals.isEmpty, "\(schema) accepts nonsense", sourceLocation: sourceLocation)
      #expect(
        complaints.count == refusals.count, "\(schema): \(outcome.standardError)",
        sourceLocation: sourceLocation)
    }
  }
}
