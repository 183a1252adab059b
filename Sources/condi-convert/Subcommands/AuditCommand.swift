import ArgumentParser
import Inspect

struct AuditCommand: DocumentedCommand {
  static let page = CommandPage(
    name: "audit",
    abstract: "List all that loading a file would execute, without executing it.",
    examples: [
      "condi-convert audit model.pth",
      "curl -L https://example.org/model.pth | condi-convert audit -",
      "condi-convert audit download.pkl --format json",
    ],
    essentials: ["--format"],
    notes: """
      EXIT CODES
        0 clean, 1 suspicious: something dangerous or unknown was found,
        2 it cannot be read to its end
      """)

  @Argument(help: "Any file.", completion: .file())
  var file: String

  @OptionGroup(title: "Report") var report: ReportOptions
  @OptionGroup(title: "Reading") var input: InputOptions

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
