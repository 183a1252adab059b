import Formats
import Foundation
import FuzzTargets

/// ```
/// condi-fuzz --list                the names of the targets
/// condi-fuzz --seeds FOLDER FILE…  packs what can be read, as seeds for the targets of that format
/// FUZZ_TARGET=name condi-fuzz …    libFuzzer, with its own options and folders
/// ```
@main
struct CondiFuzz {
  static func main() throws {
    let arguments = CommandLine.arguments
    switch arguments.dropFirst().first {
    case "--list":
      for target in FuzzTarget.all { print(target.name) }
    case "--seeds" where arguments.count > 2:
      try PackedSeeds(folder: arguments[2]).write(from: Array(arguments.dropFirst(3)))
    default:
      let name = ProcessInfo.processInfo.environment["FUZZ_TARGET"] ?? ""
      guard let target = FuzzTarget.all.first(where: { $0.name == name }) else {
        FileHandle.standardError.write(Data("FUZZ_TARGET names no target; --list does\n".utf8))
        exit(64)
      }
      FuzzLoop.target = target
      FuzzLoop.run()
    }
  }
}
