import FoundationEssentials
import Glibc
import Storage
import Synchronization

/// Where a command's words go: reports to standard output, all else to standard error.
enum Console {
  private static let isMute = Mutex(false)

  /// From now on only errors are said: for the ranks that help another one.
  static func mute() { isMute.withLock { $0 = true } }

  /// Whether reports, notes and progress are for somebody.
  static var speaks: Bool { isMute.withLock { !$0 } }

  /// Lets writing to a pipe that nobody reads any more be an error of `write`, so that unfinished
  /// outputs are removed on the way out. For `main`, once.
  static func ignoreBrokenPipes() {
    signal(SIGPIPE, SIG_IGN)
  }

  /// A report, followed by an end of line where it has none.
  ///
  /// - Throws: `ModelError` when it cannot be written, as to a full disk; `Outcome.readerGone` when
  ///   nobody reads it any more.
  static func report(_ report: String) throws {
    guard speaks else { return }
    ProgressBar.erase()
    let text = StandardInput.named(report)
    // By bytes: the last character of CSV is a carriage return and line feed together.
    let end = text.utf8.last == UInt8(ascii: "\n") ? "" : "\n"
    guard let code = write(text + end, to: STDOUT_FILENO) else { return }
    if code == EPIPE { throw Outcome.readerGone }
    throw ModelError(.system(operation: "write", code: code), path: "standard output")
  }

  /// Something the user should know though the command goes on.
  static func note(_ message: String, unless isQuiet: Bool) {
    guard !isQuiet, speaks else { return }
    write("condi-convert: \(StandardInput.named(message))")
  }

  static func error(_ message: String) {
    write("condi-convert: \(StandardInput.named(message))")
  }

  /// What is wrong with the command line, and how it should look, as the argument parser says it.
  static func wrongUsage(_ message: String) { write(message) }

  /// The columns that a text report may fill: 100, or more on a wider terminal.
  static var reportWidth: Int { max(100, columns(of: STDOUT_FILENO) ?? 100) }

  /// The columns of the terminal that messages go to; 80 where it does not say.
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

  /// Writes to standard error. There is nowhere left to say that this did not work.
  static func writeError(_ text: String) { _ = write(text, to: STDERR_FILENO) }

  /// Writes all of `text`.
  ///
  /// - Returns: the number of the error that kept it from that.
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
