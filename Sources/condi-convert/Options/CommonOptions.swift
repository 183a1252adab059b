import ArgumentParser
import Formats
import Foundation

/// Options that every command has.
struct CommonOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("Worker threads.", valueName: "n"))
  var threads: Int = ProcessInfo.processInfo.activeProcessorCount

  @OptionGroup var input: InputOptions

  @Flag(name: .shortAndLong, help: "Print no messages and no progress, only the report.")
  var quiet = false

  /// How model files are opened.
  var access: InputFile.Access { input.access }

  func validate() throws {
    guard (1...1024).contains(threads) else {
      throw ValidationError("--threads takes a number from 1 to 1024")
    }
  }
}
