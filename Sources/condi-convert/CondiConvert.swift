import ArgumentParser
import Formats

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

      EXIT CODES
        0 success, 1 a finding (a difference, a failed check), 2 an error,
        64 wrong usage, 141 nobody read the report to its end
      """,
    version: ToolVersion.text,
    subcommands: [
      ConvertCommand.self, InspectCommand.self, DiffCommand.self, VerifyCommand.self,
      CalibrateCommand.self, ConditionCommand.self, QuantizeCommand.self, RepairCommand.self,
      UnpackCommand.self, ExportCommand.self, ImportCommand.self, PlanCommand.self,
      RunCommand.self, FinishCommand.self,
      UpscaleCommand.self, EvaluateCommand.self, AuditCommand.self, GitDiffCommand.self,
    ])

  /// Without a command.
  func run() throws {
    try Console.report(FirstSteps.guide)
  }

  static func main() {
    Console.ignoreBrokenPipes()
    if let hint = FirstSteps.hint(for: Array(CommandLine.arguments.dropFirst())) {
      Console.error(hint)
      exit(withError: ExitCode.validationFailure)
    }
    do {
      try SignalHandlers.install()
      var command = try parseAsRoot()
      do {
        try command.run()
      } catch let error as ValidationError {
        exit(withWrongUsage: error, of: type(of: command))
      }
    } catch let outcome as Outcome {
      exit(withError: outcome.exitCode)
    } catch  where exitCode(for: error) == .failure && !(error is CleanExit) {
      // Everything the libraries throw describes itself in one line; wrong usage goes below. Where
      // bytes of a mapped input went missing, whatever else is wrong follows from that.
      do {
        try SignalHandlers.checkInputs()
        Console.error("\(error)")
      } catch {
        Console.error("\(error)")
      }
      exit(withError: Outcome.error.exitCode)
    } catch {
      exit(withError: error)
    }
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
