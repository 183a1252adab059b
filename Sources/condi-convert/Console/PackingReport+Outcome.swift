import Formats
import Jobs
import Transform

extension PackingReport {
  /// The report of a file that was packed weight by weight.
  ///
  /// - Throws: `FormatError` when the outcome is not that of packing.
  init(_ outcome: ConversionOutcome, input: String, output: String) throws {
    let header = outcome.plan.header
    guard let source = header.source, let recipe = header.recipe, let summary = outcome.summary
    else {
      throw FormatError.malformed("the plan is not one for packing", path: output)
    }
    self.init(
      input: input, output: output, source: source,
      recipe: try Recipe(recipe, source: "the plan's recipe"), tensorCount: header.names.count,
      summary: summary, layers: outcome.layers, kept: try KeptTensor.list(of: header))
  }
}
