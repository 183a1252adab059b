import ArgumentParser
import Formats
import Inspect

/// Options that define what counts as a difference between two models.
struct ComparisonOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Only tensors whose name matches; may be given several times. A pattern that matches nothing "
        + "in either file is an error.", valueName: "glob"))
  var layers: [String] = []

  @Option(
    help: ArgumentHelp(
      "Leave out tensors and values whose name matches; may be given several times.",
      valueName: "glob"))
  var ignore: [String] = []

  @Option(
    help: ArgumentHelp(
      "Values that differ by no more than this count as equal: a number, or a pattern and a number "
        + "for tensors whose name matches; the first pattern that matches decides.",
      valueName: "x|glob=x"))
  var tolerance: [ToleranceArgument] = []

  @Option(
    help: ArgumentHelp(
      "Rewrite the first file's names: replace what the regular expression matches, with $1 for its "
        + "first group; may be given several times.", valueName: "regex=text"))
  var map: [NameReplacementArgument] = []

  @Option(
    help: ArgumentHelp(
      "Leave out this beginning of names in both files; may be given several times.",
      valueName: "text"))
  var stripPrefix: [String] = []

  @Flag(help: "Renamed, transposed, fused and split tensors of the same values are no difference.")
  var anyLayout = false

  @Flag(help: "Another element type, as float16 for float32, is no difference; its numbers may be.")
  var anyType = false

  @Flag(name: .customLong("strict-nan"), help: "NaN differs from NaN.")
  var strictNaN = false

  @Flag(
    help: "Compare tensors as they are stored, and put none together that belong together.")
  var stored = false

  @Flag(help: "Show both condition numbers of every changed matrix.")
  var condition = false

  func validate() throws {
    guard tolerance.count(where: { $0.pattern == nil }) <= 1 else {
      throw ValidationError("--tolerance takes one number without a pattern")
    }
    guard stripPrefix.allSatisfy({ !$0.isEmpty }) else {
      throw ValidationError("--strip-prefix takes a nonempty text")
    }
  }

  /// Whether names are rewritten, so that the files' own names do not tell which tensors form
  /// groups.
  var mapsNames: Bool { !map.isEmpty || !stripPrefix.isEmpty }

  func options(threads: Int) throws -> DiffReport.Options {
    var options = DiffReport.Options()
    options.tensors = try layers.map(NameGlob.init)
    options.ignored = try ignore.map(NameGlob.init)
    options.tolerance = tolerance.first { $0.pattern == nil }?.tolerance ?? 0
    options.tolerances = try tolerance.compactMap { argument in
      try argument.pattern.map { (try NameGlob($0), argument.tolerance) }
    }
    options.names.strippedPrefixes = stripPrefix
    options.names.replacements = try map.map {
      try NameReplacement(pattern: $0.pattern, template: $0.template)
    }
    options.acceptsOtherLayouts = anyLayout
    options.ignoresElementTypes = anyType
    options.distinguishesNaN = strictNaN
    options.includesConditionNumbers = condition
    options.threads = threads
    return options
  }
}

/// A tolerance on the command line: `1e-6` or `*.norm*=1e-6`.
struct ToleranceArgument: ExpressibleByArgument {
  /// The name pattern; `nil` for all tensors.
  let pattern: String?
  let tolerance: Double

  init?(argument: String) {
    let separator = argument.lastIndex(of: "=")
    let number = separator.map { argument[argument.index(after: $0)...] } ?? argument[...]
    guard let tolerance = Double(number), tolerance >= 0, tolerance.isFinite,
      separator != argument.startIndex
    else { return nil }
    pattern = separator.map { String(argument[..<$0]) }
    self.tolerance = tolerance
  }
}

/// A replacement on the command line: `regex=replacement`.
struct NameReplacementArgument: ExpressibleByArgument {
  let pattern: String
  let template: String

  init?(argument: String) {
    guard let parts = argument.patternAndValue else { return nil }
    (pattern, template) = parts
  }
}

extension String {
  /// A pattern of names and what is said of them, as in `pattern=value`; `nil` without a pattern.
  /// The last `=` divides, because names have none.
  var patternAndValue: (pattern: String, value: String)? {
    guard let separator = lastIndex(of: "="), separator != startIndex else { return nil }
    return (String(self[..<separator]), String(self[index(after: separator)...]))
  }
}
