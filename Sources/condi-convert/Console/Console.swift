import Foundation

/// Where a command's words go: reports to standard output, all else to standard error.
enum Console {
  /// A report, followed by an end of line where it has none.
  static func report(_ text: String) {
    let end = text.hasSuffix("\n") ? "" : "\n"
    FileHandle.standardOutput.write(Data((text + end).utf8))
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
    FileHandle.standardError.write(Data("\(line)\n".utf8))
  }
}
