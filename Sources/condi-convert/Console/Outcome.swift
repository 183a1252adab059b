import ArgumentParser
import Glibc
import Storage

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

extension Console {
  /// Returns the line that says what went wrong, and the way out where an option is one.
  ///
  /// Where bytes of a mapped input went missing, whatever else is wrong follows from that.
  static func explanation(of error: any Error) -> String {
    do {
      try SignalHandlers.checkInputs()
    } catch {
      return "\(error)"
    }
    guard let advice = (error as? ModelError)?.advice else { return "\(error)" }
    return "\(error); \(advice)"
  }
}

extension ModelError {
  /// The option that helps.
  fileprivate var advice: String? {
    switch problem {
    case .outputExists: "use --force to replace it"
    default: nil
    }
  }
}
