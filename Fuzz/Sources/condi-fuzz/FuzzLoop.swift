import CLibFuzzer
import Formats
import FuzzTargets

/// What libFuzzer calls, which is C and takes no context: one target a process.
enum FuzzLoop {
  // Set once, before the first call.
  nonisolated(unsafe) static var target: FuzzTarget?

  static func run() {
    var count = CommandLine.argc
    var values: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
    _ = LLVMFuzzerRunDriver(&count, &values) { data, byteCount in
      let bytes = SharedBytes(UnsafeBufferPointer(start: data, count: byteCount))
      do {
        try FuzzLoop.target?.run(bytes)
      } catch is FormatError {
        return 0
      } catch {
        fatalError("an error that is no FormatError: \(error)")
      }
      return 0
    }
  }
}
