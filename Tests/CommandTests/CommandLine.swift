import Foundation
import TestSupport
import Testing

/// The built command, run as a user runs it.
enum CommandLine {
  static let checkpoint = PackageFolder.root.appending(path: "Examples/swinir_light_x2.pth").path

  static func run(_ arguments: String...) throws -> BuiltProgram.Outcome {
    try BuiltProgram().run(arguments)
  }

  /// Runs a command that must succeed.
  @discardableResult
  static func succeed(
    _ arguments: String..., sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> BuiltProgram.Outcome {
    let outcome = try BuiltProgram().run(arguments)
    #expect(outcome.exitCode == 0, "\(outcome.standardError)", sourceLocation: sourceLocation)
    return outcome
  }

  /// Calls `body` with a folder that holds the example packed at 2 bits as `model.condi`.
  static func withPackedExample(_ body: (TemporaryFolder, String) throws -> Void) throws {
    try withTemporaryFolder { folder in
      let packed = folder.appending("model.condi")
      try FileManager.default.copyItem(atPath: packedExample(), toPath: packed)
      try body(folder, packed)
    }
  }

  /// Returns the path of the example packed at 2 bits, which no test may change.
  static func packedExample() throws -> String {
    try SharedMaterial.folder("packed-example") { folder in
      let outcome = try run(
        "convert", checkpoint, folder.appending("model.condi"), "--bits", "2", "--quiet")
      try #require(outcome.exitCode == 0, "\(outcome.standardError)")
    }.appending("model.condi")
  }

  static func json(_ outcome: BuiltProgram.Outcome) throws -> [String: Any] {
    let object = try JSONSerialization.jsonObject(with: Data(outcome.standardOutput.utf8))
    return try #require(object as? [String: Any])
  }

  static func copy(_ source: String, to target: String, changing change: (inout Data) -> Void)
    throws
  {
    var bytes = try Data(contentsOf: URL(filePath: source))
    change(&bytes)
    try bytes.write(to: URL(filePath: target))
  }
}
