import ArgumentParser
import Formats
import Glibc
import Storage

/// The ways in which a command ends other than success, with exit codes for scripts.
enum Outcome: Error {
  /// The command did its work and found something: a difference or a failed check.
  case finding
  /// The command could not do its work.
  case error
  /// The reader of the report has closed the pipe, as `head` does after its last line.
  case readerGone

  var exitCode: ExitCode {
    switch self {
    case .finding: ExitCode(1)
    case .error: ExitCode(2)
    // The code that shells show for a program ended by SIGPIPE.
    case .readerGone: ExitCode(128 + SIGPIPE)
    }
  }
}

extension Console {
  /// Returns the line that explains an error, with a remedy if an option provides one.
  ///
  /// If bytes of a mapped input were missing, that is reported instead, as the cause of other
  /// errors.
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
  /// The option or command that solves the problem.
  fileprivate var advice: String? {
    switch problem {
    case .outputExists: return "use --force to replace it"
    case .unrecognizedFormat: return "'inspect --help' names the formats"
    case .checksumMismatch, .truncated:
      if remedy == nil, isOfPackedFile { return offering(.source).advice }
    default: break
    }
    return switch remedy {
    case .padding: "--pad pads them"
    case .integerZeroPoints: "--integer-zeros rounds them"
    case .rawElementType: "--void-type names it"
    case .validationImages: "--validation gives them"
    case .noLearning: "--steps 0 quantizes it without learning"
    case .jobs: "'run PLAN --job i/n' runs one"
    case .source: "'repair' restores it from what it was packed from"
    case .plan: "'plan' writes one"
    case .calibration: "'calibrate' writes one"
    case .configuration: "--config names one elsewhere"
    case .audit: "'audit' lists what loading it would run"
    case .networks: "'upscale --help' names the networks"
    case .onnx: "onnx takes it"
    case nil: nil
    }
  }

  private var isOfPackedFile: Bool {
    guard let path, let file = try? InputFile(path: path, access: .read) else { return false }
    return PackedExamination.resembles(file)
  }
}
