import ArgumentParser
import Reports
import Storage

extension ReportFormat: ExpressibleByArgument {}

/// Options of commands that print a report.
struct ReportOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "How the report is printed.", valueName: "format"))
  var format: ReportFormat = .text

  @Option(
    help: ArgumentHelp(
      "List at most so many rows a table; JSON always has them all.", valueName: "n"))
  var limit: Int?

  func validate() throws {
    if let limit, limit < 1 { throw ValidationError("--limit takes a number of at least 1") }
  }

  /// - Parameter textLimit: the default number of rows in plain text.
  func print(_ report: some Report, textLimit: Int? = nil) throws {
    let text = try report.rendered(
      as: format, rowLimit: limit ?? (format == .text ? textLimit : nil),
      textWidth: Console.reportWidth)
    try SignalHandlers.checkInputs()
    try Console.report(text)
  }
}
