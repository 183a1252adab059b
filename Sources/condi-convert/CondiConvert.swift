import ArgumentParser
import Formats
import FoundationEssentials
import Glibc
import Storage

@main
struct CondiConvert: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "condi-convert",
    abstract: "Make full-precision models small and low-bit, and show what that did.",
    discussion: """
      Reads PyTorch (.pth, .pt, .pkl), NumPy (.npz, .npy), safetensors, GGUF, ONNX and packed (.condi) \
      files and sharded checkpoints by their content, never by their name, and executes nothing \
      that is in them.

      EXAMPLES
        condi-convert convert model.pth model.condi --bits 2
        condi-convert convert model.pth model.condi --bits 2 --calibration-images photos/
        condi-convert calibrate model.pth stats.calib.npz --images photos/
        condi-convert condition model.pth conditioned.pth --calibration stats.calib.npz
        condi-convert inspect model.pth --sort condition --limit 10
        condi-convert diff model.pth model.condi
        condi-convert verify model.condi --reference model.pth --min-ratio paper=3.3
        condi-convert repair damaged.condi model.pth model.condi
        condi-convert unpack model.condi restored.safetensors
        condi-convert export model.condi model.onnx
        condi-convert upscale model.condi photo.png big.png
        condi-convert evaluate model.condi --dataset Set5
        condi-convert audit download.pkl

      STANDARD INPUT AND OUTPUT
        '-' instead of an input file reads standard input, once to its end.
        Reports go to standard output, messages to standard error. Outputs are
        always files. There are no colours.

      ENVIRONMENT
        CONDI_VECTOR_LEVEL  the instruction set of the kernels, at most the processor's
                            own: scalar, 128, avx2, avx512 or avx512-vnni

      EXIT CODES
        0 success, 1 a finding (a difference, a failed check), 2 an error,
        64 wrong usage, 141 nobody read the report to its end
      """,
    version: ToolVersion.requested,
    subcommands: [
      ConvertCommand.self, InspectCommand.self, DiffCommand.self, VerifyCommand.self,
      CalibrateCommand.self, ConditionCommand.self, QuantizeCommand.self, RepairCommand.self,
      UnpackCommand.self, ExportCommand.self, ImportCommand.self, MergeCommand.self,
      PlanCommand.self,
      RunCommand.self, FinishCommand.self,
      UpscaleCommand.self, EvaluateCommand.self, AuditCommand.self, GitDiffCommand.self,
    ])

  /// Without a command.
  func run() throws {
    try Console.report(FirstSteps.guide)
  }

  static func main() {
    Console.ignoreBrokenPipes()
    do {
      try SignalHandlers.install()
      try VectorLevel.check(environment: ProcessInfo.processInfo.environment)
      guard try SharedWork.launch.get().isRoot else {
        SharedWork.assist {
          var command = try parseAsRoot()
          try command.run()
        }
      }
      if let hint = FirstSteps.hint(for: Array(CommandLine.arguments.dropFirst())) {
        Console.error(hint)
        throw ExitCode.validationFailure
      }
      var command = try parseAsRoot()
      try SharedWork.check(
        command, arguments: CommandLine.arguments,
        environment: ProcessInfo.processInfo.environment)
      do {
        try command.run()
      } catch let error as ValidationError {
        SharedWork.end(error)
        exit(withWrongUsage: error, of: type(of: command))
      }
      SharedWork.end()
    } catch {
      end(error)
    }
  }

  private static func end(_ error: any Error) -> Never {
    SharedWork.end(error)
    if let outcome = error as? Outcome { exit(withError: outcome.exitCode) }
    guard exitCode(for: error) == .failure, !(error is CleanExit) else { exit(withError: error) }
    // Everything the libraries throw describes itself in one line; wrong usage went above.
    Console.error(Console.explanation(of: error))
    exit(withError: Outcome.error.exitCode)
  }

  /// Ends the program as it ends where parsing finds the mistake: the parser does not know whose
  /// usage to print of an error that `run` throws.
  private static func exit(
    withWrongUsage error: ValidationError, of command: any ParsableCommand.Type
  ) -> Never {
    let names = [configuration.commandName, command.configuration.commandName].compactMap { $0 }
    Console.wrongUsage(
      "Error: \(error.message)\nUsage: \(usageString(for: command))\n"
        + "  See '\(names.joined(separator: " ")) --help' for more information.")
    exit(withError: ExitCode.validationFailure)
  }
}
