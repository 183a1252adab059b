import ArgumentParser
import Formats
import Storage
import Transform

struct MergeCommand: DocumentedCommand {
  static let page = CommandPage(
    name: "merge",
    abstract: "Add a LoRA adapter to the weights of its base, and write the result.",
    examples: [
      "condi-convert merge base/ adapter_model.safetensors merged.safetensors",
      "condi-convert merge base.safetensors lora.safetensors out.safetensors \\\n"
        + "  --max-shard-size 5GB",
      "condi-convert diff base.safetensors+lora.safetensors merged.safetensors",
    ],
    essentials: ["--max-shard-size", "--force"])

  @Argument(help: "A model file of any known format, or the folder of one.", completion: .file())
  var base: String

  @Argument(help: "The LoRA adapter.", completion: .file())
  var adapter: String

  @Argument(help: "The file to write; its extension chooses the format.", completion: .file())
  var output: String

  @Option(help: ArgumentHelp("The part of a nested base to take.", valueName: "name"))
  var root: String?

  @OptionGroup(title: "Output") var destination: OutputOptions
  @OptionGroup(title: "Names and types") var edits: EditOptions
  @OptionGroup(title: "Report") var report: ReportOptions
  @OptionGroup(title: "Running") var common: CommonOptions

  func run() throws {
    let format = try destination.format(for: output)
    guard format.identifier != PackedFormat.identifier else {
      throw ValidationError("'\(output)' would be packed; merge to another format, then 'convert'")
    }
    try destination.check(output)
    let merged = try ModelSum(base: base, adapter: adapter).open(root: root, common: common)
    let (archive, changes) = try edits.applied(to: merged.archive, path: base)
    try locatingErrors(path: base) { try archive.requireReadableTensors() }
    try destination.write(
      archive, as: format, to: output, activity: "merging", common: common)
    Console.note(
      "merged \(counted(merged.pairs.count, "weight")) of \(base) with \(adapter)",
      unless: common.quiet)
    try report.print(
      changes, input: base, output: output, format: format.identifier.name, root: root,
      tensorCount: archive.tensors.count)
  }
}

/// A base and an adapter, as in `base.safetensors+lora.safetensors`.
struct ModelSum {
  let base: String
  let adapter: String

  init(base: String, adapter: String) {
    self.base = base
    self.adapter = adapter
  }

  /// - Returns: `nil` if there is a file of this name, or no two.
  init?(argument: String) {
    func exists(_ path: some StringProtocol) -> Bool {
      let path = String(path)
      return path.isFolder || (try? InputFile(path: path, access: .read)) != nil
    }
    guard !exists(argument) else { return nil }
    for place in argument.indices where argument[place] == "+" {
      let (base, adapter) = (argument[..<place], argument[argument.index(after: place)...])
      guard exists(base), exists(adapter) else { continue }
      self.init(base: String(base), adapter: String(adapter))
      return
    }
    return nil
  }

  func open(root: String?, common: CommonOptions) throws -> LowRankMerge {
    let weights = try ModelArgument.open(base, root: root, common: common)
    let factors = try ModelArgument.open(adapter, stored: true, common: common)
    return try locatingErrors(path: base) { try LowRankMerge(weights, factors) }
  }
}
