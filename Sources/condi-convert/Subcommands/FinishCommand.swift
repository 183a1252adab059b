import ArgumentParser
import Jobs
import Transform

struct FinishCommand: DocumentedCommand {
  static let page = CommandPage(
    name: "finish",
    abstract: "Check what all jobs of a plan made, and seal the file.",
    examples: [
      "condi-convert finish model.condi.plan.json",
      "condi-convert finish model.condi.plan.json --format json",
    ],
    essentials: ["--format"])

  @Argument(help: "A plan all of whose jobs have run.")
  var plan: String

  @Flag(help: "Replace an existing output.")
  var force = false

  @OptionGroup(title: "Report") var report: ReportOptions
  @OptionGroup(title: "Running") var common: CommonOptions

  func run() throws {
    let plan = try ConversionPlan(contentsOf: plan)
    let outcome = try JobCompletion(plan, access: common.access, threads: common.threads)
      .finish(replacesExisting: force)
    guard case .packed(let packed, let changes) = outcome else {
      return try StreamingOptions.show(
        outcome, input: plan.request.input, output: plan.request.output, report: report,
        common: common)
    }
    try report.print(
      PackingReport(
        packed, changes: changes, input: plan.request.input, output: plan.request.output),
      textLimit: 10)
  }
}
