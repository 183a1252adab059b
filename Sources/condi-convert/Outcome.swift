import ArgumentParser

/// How a command ends when it does not simply succeed; the exit code is for scripts.
enum Outcome: Error {
  /// The command did its work and found something: a difference, a failed check.
  case finding
  /// The command could not do its work.
  case error

  var exitCode: ExitCode {
    switch self {
    case .finding: ExitCode(1)
    case .error: ExitCode(2)
    }
  }
}
