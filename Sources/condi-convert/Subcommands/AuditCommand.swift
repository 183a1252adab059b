import ArgumentParser
import Inspect

struct AuditCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "audit",
    abstract: "List all that loading a file would execute, without executing it.",
    discussion: """
      Python pickles are programs. Every class and function that one names or calls is listed with \
      its byte, and whether it is known to be data (allowed), known to do harm (dangerous), or \
      neither (unknown). Pickles are found by content: in zip and tar archives and archives inside \
      them, in NumPy object arrays, one behind another, and inside the bytes of other pickles. What \
      other programs run is listed as well: Python modules of torch.package, serialized objects of \
      stable-baselines3, Lambda layers and foreign classes of Keras, chat templates in GGUF, custom \
      operators of ONNX, libraries. Compressed data and content of no known kind are named and never \
      vouched for. Formats that hold no code are clean when every byte can be read.

      Exit code 0: clean. 1: suspicious, something dangerous or unknown was found. 2: unreadable; a \
      file that cannot be read to its end is never clean.

      EXAMPLES
        condi-convert audit model.pth
        condi-convert audit download.pkl --format json
      """)

  @Argument(help: "Any file.", completion: .file())
  var file: String

  @OptionGroup var report: ReportOptions
  @OptionGroup var input: InputOptions

  func run() throws {
    let audit = try AuditReport(auditing: StandardInput.path(file), access: input.access)
    try report.print(audit, textLimit: 30)
    switch audit.verdict {
    case .clean: break
    case .suspicious: throw Outcome.finding
    case .unreadable: throw Outcome.error
    }
  }
}
