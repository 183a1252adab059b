import ArgumentParser
import Formats
import Storage
import Transform

struct MergeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "merge",
    abstract: "Add a LoRA adapter to the weights of its base, and write the result.",
    discussion: """
      Each pair of factors adds 'scale · up · down' to a weight of the base; the scale is alpha \
      divided by the rank, from the adapter's own 'alpha' or from PEFT's adapter_config.json beside \
      it. Factors of linear layers, convolutions and embeddings are merged, named as PEFT, diffusers \
      or kohya's scripts do. Every weight is merged when it is written, one at a time; all else of \
      the base keeps its bits.

      An adapter of another base is refused, with the first name or shape that differs; and one with \
      DoRA's magnitudes, or with tensors that are no factors.

      EXAMPLES
        condi-convert merge base/ adapter_model.safetensors merged.safetensors
        condi-convert merge base.safetensors lora.safetensors out/model.safetensors --max-shard-size 5GB
        condi-convert diff base.safetensors+lora.safetensors merged.safetensors
      """)

  @Argument(help: "A model file of any known format, or the folder of one.", completion: .file())
  var base: String

  @Argument(help: "The LoRA adapter.", completion: .file())
  var adapter: String

  @Argument(help: "The file to write; its extension chooses the format.", completion: .file())
  var output: String

  @Option(help: ArgumentHelp("The part of a nested base to take.", valueName: "name"))
  var root: String?

  @OptionGroup var destination: OutputOptions
  @OptionGroup(title: "Names and types") var edits: EditOptions
  @OptionGroup var report: ReportOptions
  @OptionGroup var common: CommonOptions

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
    try edits.report(
      changes, of: archive, input: base, output: output, format: format, root: root, to: report)
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
