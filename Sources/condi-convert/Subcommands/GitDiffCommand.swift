import ArgumentParser
import Formats
import Inspect
import Storage

struct GitDiffCommand: DocumentedCommand {
  static let page = CommandPage(
    name: "git-diff",
    abstract: "Show model files in 'git diff', as git's external diff command or text filter.",
    examples: [
      "git config diff.model.command 'condi-convert git-diff'",
      "git config diff.model.textconv 'condi-convert git-diff --textconv'",
      "echo '*.safetensors diff=model' >> .gitattributes",
      "GIT_EXTERNAL_DIFF='condi-convert git-diff' git diff",
    ],
    essentials: ["--textconv", "--format"])

  @Argument(help: "What git passes: 7 arguments, or 9 for a renamed file; one with --textconv.")
  var arguments: [String]

  @Flag(help: "List one file for git to compare.")
  var textconv = false

  @OptionGroup var comparison: ComparisonOptions
  @OptionGroup(title: "Report") var report: ReportOptions
  @OptionGroup(title: "Running") var common: CommonOptions

  func validate() throws {
    let counts = textconv ? [1] : [1, 7, 9]
    guard counts.contains(arguments.count) else {
      throw ValidationError(
        textconv ? "--textconv takes one file" : "git passes 7 arguments, not \(arguments.count)")
    }
  }

  func run() throws {
    if textconv {
      let archive = try FormatRegistry.standard.open(arguments[0], access: common.access)
      let lines = try ArchiveListing(archive, threads: common.threads).lines
      try Console.report(lines.joined(separator: "\n"))
      return
    }
    let path = arguments[0]
    guard arguments.count >= 7 else {
      try Console.report("\(path.escapingControlCharacters): not merged yet")
      return
    }
    let (first, second) = (arguments[1], arguments[4])
    guard let left = try archive(first), let right = try archive(second) else {
      try Console.report(
        "\(path.escapingControlCharacters): not a model file of a known format, not compared")
      return
    }
    let aligned = TensorArchive.aligned(left, right)
    let (a, b) =
      comparison.mapsNames ? (left, right) : (aligned.first.archive, aligned.second.archive)
    try report.print(
      DiffReport(
        a, b, fileA: name("a/", path, of: first),
        fileB: name("b/", arguments.count > 7 ? arguments[7] : path, of: second),
        options: comparison.options(threads: common.threads)))
  }

  /// The path that git passes for the missing side of an added or removed file.
  private static let nothing = "/dev/null"

  /// Opens a file.
  ///
  /// - Returns: `nil` if it is not a model file.
  private func archive(_ file: String) throws -> TensorArchive? {
    guard file != Self.nothing else { return TensorArchive() }
    do {
      let archive = try FormatRegistry.standard.open(file, access: common.access)
      // Git places one of the files where no configuration is next to it.
      return comparison.stored ? archive : archive.assembled(configuration: .object([:]))
    } catch let error as ModelError {
      guard case .unrecognizedFormat = error.problem else { throw error }
      return nil
    }
  }

  private func name(_ prefix: String, _ path: String, of file: String) -> String {
    file == Self.nothing ? file : prefix + path
  }
}
