import Foundation

/// A program, run as a user would run it.
public struct BuiltProgram: Sendable {
  /// The outcome of a finished run.
  public struct Outcome: Sendable {
    public let standardOutput: String
    public let standardError: String
    /// The exit code or, negated, the signal that ended the program.
    public let exitCode: Int32
  }

  public let path: String

  /// Creates a program that does not belong to this package.
  public init(path: String) { self.path = path }

  /// Finds `condi-convert` where `make build` puts it, or at the path in the environment variable
  /// `CONDI_PROGRAM`.
  ///
  /// - Throws: `ProgramNotBuilt` when it is missing.
  public init() throws {
    let named = ProcessInfo.processInfo.environment["CONDI_PROGRAM"]
    let url = named.map { URL(filePath: $0) }
    path =
      (url ?? PackageFolder.root.appending(path: ".build/release/condi-convert"))
      .standardizedFileURL.path
    guard FileManager.default.isExecutableFile(atPath: path) else {
      throw ProgramNotBuilt(path: path)
    }
  }

  /// Runs the program to its end.
  ///
  /// - Parameters:
  ///   - environment: Variables that replace the test's own of the same names.
  ///   - folder: The working directory; the test's own if `nil`.
  public func run(
    _ arguments: [String], environment: [String: String] = [:], in folder: String? = nil
  ) throws -> Outcome {
    let process = Process()
    process.executableURL = URL(filePath: path)
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    if let folder { process.currentDirectoryURL = URL(filePath: folder) }
    process.standardInput = FileHandle.nullDevice
    // The outputs are files, because a program that fills one pipe while the other is read would
    // wait forever.
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

/// An error of tests that start the program before it has been built.
struct ProgramNotBuilt: Error, CustomStringConvertible {
  let path: String
  var description: String {
    "\(path) is missing; 'make build' makes the program, CONDI_PROGRAM names another one"
  }
}
