import ArgumentParser
import Formats
import FoundationEssentials
import Glibc
import Storage

@main
struct CondiConvert: ParsableCommand {
  static let programName = "condi-convert"
  static let abstract = "Make full-precision models small and low-bit, and show what that did."
  static let examples = [
    "condi-convert convert model.pth model.condi --bits 2",
    "condi-convert inspect model.pth --sort condition --limit 10",
    "condi-convert upscale model.condi photo.png big.png",
    "condi-convert diff model.pth model.condi",
    "condi-convert verify model.condi --reference model.pth --min-ratio paper=3.3",
    "condi-convert evaluate model.condi --dataset Set5",
    "condi-convert audit download.pkl",
  ]

  /// The commands, by what they are for.
  static let groups: [(title: String, commands: [any DocumentedCommand.Type])] = [
    (
      "Convert",
      [
        ConvertCommand.self, UnpackCommand.self, ExportCommand.self, ImportCommand.self,
        MergeCommand.self,
      ]
    ),
    (
      "Inspect",
      [
        InspectCommand.self, DiffCommand.self, VerifyCommand.self, AuditCommand.self,
        GitDiffCommand.self,
      ]
    ),
    ("Run", [UpscaleCommand.self, EvaluateCommand.self]),
    ("In steps", [CalibrateCommand.self, ConditionCommand.self, QuantizeCommand.self]),
    ("Share", [PlanCommand.self, RunCommand.self, FinishCommand.self]),
    ("Mend", [RepairCommand.self]),
  ]
  static var commands: [any DocumentedCommand.Type] { groups.flatMap { $0.commands } }

  static let configuration = CommandConfiguration(
    commandName: programName,
    abstract: abstract,
    discussion: """
      EXAMPLES
      \(examples.map { "  \($0)" }.joined(separator: "\n"))

      FILES
        Model files are told apart by their content, never by their name, and
        nothing that is in them is executed. '-' instead of an input file reads
        standard input, once to its end. Reports go to standard output, messages
        to standard error. Outputs are always files. There are no colours.

      ENVIRONMENT
        CONDI_VECTOR_LEVEL  the instruction set of the kernels, at most the
                            processor's own: scalar, 128, avx2, avx512 or
                            avx512-vnni

      EXIT CODES
        0 success, 1 a finding (a difference, a failed check), 2 an error,
        64 wrong usage, 141 nobody read the report to its end
      """,
    version: ToolVersion.requested,
    subcommands: commands)

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
      if let help = ShortHelp.text(for: Array(CommandLine.arguments.dropFirst())) {
        try Console.report(help)
        throw ExitCode.success
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
    let names = [programName, command.configuration.commandName].compactMap { $0 }
    Console.wrongUsage(
      "Error: \(error.message)\nUsage: \(usageString(for: command))\n"
        + "  See '\(names.joined(separator: " ")) --help' for more information.")
    exit(withError: ExitCode.validationFailure)
  }
}
