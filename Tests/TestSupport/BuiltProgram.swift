import Foundation

/// A program of this package, run as a user would run it.
public struct BuiltProgram: Sendable {
  /// What a finished run left behind.
  public struct Outcome: Sendable {
    public let standardOutput: String
    public let standardError: String
    /// Negative: the signal that ended the program.
    public let exitCode: Int32
  }

  public let path: String

  /// A program that is not of this package.
  public init(path: String) { self.path = path }

  /// The product `name`, which is built into the folder that the tests run from.
  ///
  /// - Throws: `MissingFile` when it has not been built.
  public init(named name: String = "condi-convert") throws {
    let test = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
    // The test bundle is an executable beside the products, or inside a folder beside them.
    var folder = test.deletingLastPathComponent()
    for _ in 0..<4 {
      let candidate = folder.appending(path: name).path
      if FileManager.default.isExecutableFile(atPath: candidate) {
        path = candidate
        return
      }
      folder = folder.deletingLastPathComponent()
    }
    throw MissingFile(path: test.deletingLastPathComponent().appending(path: name).path)
  }

  /// Runs the program to its end.
  ///
  /// - Parameters:
  ///   - environment: replaces the test's own for the given names.
  ///   - folder: the working directory; the test's own when `nil`.
  public func run(
    _ arguments: [String], environment: [String: String] = [:], in folder: String? = nil
  ) throws -> Outcome {
    let process = Process()
    process.executableURL = URL(filePath: path)
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    if let folder { process.currentDirectoryURL = URL(filePath: folder) }
    process.standardInput = FileHandle.nullDevice
    // Files, not pipes: a program that fills one pipe while the other is read would wait forever.
    return try withTemporaryFolder { temporary in
      let outputPath = temporary.appending("stdout")
      let errorPath = temporary.appending("stderr")
      for path in [outputPath, errorPath] {
        guard FileManager.default.createFile(atPath: path, contents: nil) else {
          throw MissingFile(path: path)
        }
      }
      process.standardOutput = try FileHandle(forWritingTo: URL(filePath: outputPath))
      process.standardError = try FileHandle(forWritingTo: URL(filePath: errorPath))
      try process.run()
      process.waitUntilExit()
      return Outcome(
        standardOutput: try String(contentsOfFile: outputPath, encoding: .utf8),
        standardError: try String(contentsOfFile: errorPath, encoding: .utf8),
        exitCode: process.terminationReason == .exit
          ? process.terminationStatus : -process.terminationStatus)
    }
  }
}
