import Formats
import Inspect

/// Prints the condition number of a model's worst-conditioned weights, query, key and value apart.
@main
struct WorstConditioned {
  static func main() throws {
    guard let path = CommandLine.arguments.dropFirst().first else {
      fatalError("usage: WorstConditioned MODEL")
    }
    var options = ModelReport.Options()
    options.splitsFusedQKV = true
    options.sortKey = .condition
    options.isDescending = true
    let report = try ModelReport(
      archive: FormatRegistry.standard.open(path), file: path, options: options)
    for layer in report.layers.prefix(5) {
      print(layer.name, layer.part ?? "", layer.conditionNumber ?? .infinity)
    }
    // The same as a page: try report.rendered(as: .html)
  }
}
