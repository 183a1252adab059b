import FoundationEssentials
import Glibc
import Storage
import Synchronization

/// The command's output: reports go to standard output, everything else to standard error.
enum Console {
  private static let isMute = Mutex(false)

  /// Suppresses all further output except errors, for ranks that assist another one.
  static func mute() { isMute.withLock { $0 = true } }

  /// Whether reports, notes and progress are shown.
  static var speaks: Bool { isMute.withLock { !$0 } }

  /// Makes writing to a closed pipe an error of `write` instead of a signal, so that unfinished
  /// outputs are removed. `main` calls this once.
  static func ignoreBrokenPipes() {
    signal(SIGPIPE, SIG_IGN)
  }

  /// Prints a report, followed by a line break if it lacks one.
  ///
  /// - Throws: `ModelError` if it cannot be written, for example to a full disk;
  ///   `Outcome.readerGone` if the reader has closed the pipe.
  static func report(_ report: String) throws {
    guard speaks else { return }
    ProgressBar.erase()
    let text = StandardInput.named(report)
    // Compares bytes: in CSV, the last character is a carriage return and line feed together.
    let end = text.utf8.last == UInt8(ascii: "\n") ? "" : "\n"
    guard let code = write(text + end, to: STDOUT_FILENO) else { return }
    if code == EPIPE { throw Outcome.readerGone }
    throw ModelError(.system(operation: "write", code: code), path: "standard output")
  }

  /// Prints a message for the user about something that does not stop the command.
  static func note(_ message: String, unless isQuiet: Bool) {
    guard !isQuiet, speaks else { return }
    write("condi-convert: \(StandardInput.named(message))")
  }

  static func error(_ message: String) {
    write("condi-convert: \(StandardInput.named(message))")
  }

  /// Prints the argument parser's message about a wrong command line and its usage.
  static func wrongUsage(_ message: String) { write(message) }

  /// The width of text reports in columns: 100, or more on a wider terminal.
  static var reportWidth: Int { max(100, columns(of: STDOUT_FILENO) ?? 100) }

  /// The width of the terminal for messages in columns; 80 if it is unknown.
  static var messageWidth: Int { columns(of: STDERR_FILENO) ?? 80 }

  static var isErrorATerminal: Bool { isatty(STDERR_FILENO) == 1 }

  private static func columns(of descriptor: Int32) -> Int? {
    var size = winsize()
    guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
    return Int(size.ws_col)
  }

  private static func write(_ line: String) {
    ProgressBar.erase()
    writeError("\(line)\n")
  }

  /// Writes to standard error. A failure is ignored, because it cannot be reported anywhere.
  static func writeError(_ text: String) { _ = write(text, to: STDERR_FILENO) }

  /// Writes all of `text`.
  ///
  /// - Returns: The number of the error that prevented it, or `nil`.
  private static func write(_ text: String, to descriptor: Int32) -> Int32? {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { return errno }
      bytes = bytes.dropFirst(count)
    }
    return nil
  }
}
