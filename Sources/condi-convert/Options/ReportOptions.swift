import ArgumentParser
import Inspect

extension ReportFormat: ExpressibleByArgument {}

/// Options of commands that print a report.
struct ReportOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "How the report is printed: text, json, csv, markdown or html.", valueName: "format"))
  var format: ReportFormat = .text

  func print(_ report: some Report) throws {
    Console.report(try format.render(report))
  }
}
