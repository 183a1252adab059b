import Foundation
import FuzzTargets
import Storage

/// ```
/// condi-fuzz --list                lists the names of the targets
/// condi-fuzz --seeds FOLDER FILE…  packs readable files as seeds for the targets of that format
/// FUZZ_TARGET=name condi-fuzz …    fuzzes, with libFuzzer's own options and folders
/// ```
@main
struct CondiFuzz {
  // Set once, before the first input.
  nonisolated(unsafe) static var target: FuzzTarget?

  static func main() throws {
    let arguments = CommandLine.arguments
    switch arguments.dropFirst().first {
    case "--list":
      for target in FuzzTarget.all { print(target.name) }
    case "--seeds" where arguments.count > 2:
      try PackedSeeds(folder: arguments[2]).write(from: Array(arguments.dropFirst(3)))
    default:
      let name = ProcessInfo.processInfo.environment["FUZZ_TARGET"] ?? ""
      target = FuzzTarget.all.first { $0.name == name }
      guard target != nil else {
        FileHandle.standardError.write(Data("FUZZ_TARGET names no target; --list does\n".utf8))
        exit(64)
      }
      FuzzTarget.acceptEveryChecksum()
      var count = CommandLine.argc
      var values: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
      exit(runDriver(&count, &values, testOneInput))
    }
  }
}

/// Runs the target on one input from libFuzzer. This C function takes no context, so each process
/// fuzzes one target. libFuzzer's own `main`, which is linked in but replaced by the package
/// manager's, requires this name.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ data: UnsafePointer<UInt8>?, _ byteCount: Int) -> Int32 {
  do {
    try CondiFuzz.target?.run(SharedBytes(UnsafeBufferPointer(start: data, count: byteCount)))
  } catch is ModelError {
    return 0
  } catch {
    fatalError("an error that is no ModelError: \(error)")
  }
  return 0
}

@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
  _ count: UnsafeMutablePointer<Int32>,
  _ values: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
  _ callback: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32
) -> Int32
