import ArgumentParser
import Foundation

/// How a command ends when it does not simply succeed; the exit code is for scripts.
enum Outcome: Error {
  /// The command did its work and found something: a difference, a failed check.
  case finding
  /// The command could not do its work.
  case error
  /// Whoever read the report has left, as `head` does when it has its lines.
  case readerGone

  var exitCode: ExitCode {
    switch self {
    case .finding: ExitCode(1)
    case .error: ExitCode(2)
    // What shells show for a program that SIGPIPE has ended.
    case .readerGone: ExitCode(128 + SIGPIPE)
    }
  }
}
