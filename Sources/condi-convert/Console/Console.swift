import Formats
import Foundation

/// Where a command's words go: reports to standard output, all else to standard error.
enum Console {
  /// A report, followed by an end of line where it has none.
  ///
  /// - Throws: `FormatError` when it cannot be written, as to a full disk.
  static func report(_ text: String) throws {
    // By bytes: the last character of CSV is a carriage return and line feed together.
    let end = text.utf8.last == UInt8(ascii: "\n") ? "" : "\n"
    var bytes = Array((text + end).utf8)[...]
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes {
        Foundation.write(STDOUT_FILENO, $0.baseAddress, $0.count)
      }
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else {
        throw FormatError(.system(operation: "write", code: errno), path: "standard output")
      }
      bytes = bytes.dropFirst(count)
    }
  }

  /// Something the user should know though the command goes on.
  static func note(_ message: String, unless isQuiet: Bool) {
    guard !isQuiet else { return }
    write("condi-convert: \(message)")
  }

  static func error(_ message: String) {
    write("condi-convert: \(message)")
  }

  /// The columns that a text report may fill: 100, or more on a wider terminal.
  static var reportWidth: Int {
    var size = winsize()
    guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 else { return 100 }
    return max(100, Int(size.ws_col))
  }

  static var isErrorATerminal: Bool { isatty(STDERR_FILENO) == 1 }

  private static func write(_ line: String) {
    // There is nowhere left to say that this did not work.
    try? FileHandle.standardError.write(contentsOf: Data("\(line)\n".utf8))
  }
}
