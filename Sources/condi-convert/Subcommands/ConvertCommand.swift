import ArgumentParser
import Formats
import Jobs
import Storage
import Transform

struct ConvertCommand: SharedCommand, DocumentedCommand {
  static let page = CommandPage(
    name: "convert",
    abstract: "Quantize and pack a checkpoint, or change its format bit for bit.",
    examples: [
      "condi-convert convert model.pth model.condi --bits 2",
      "condi-convert convert model.pth model.condi --bits 2 \\\n"
        + "  --calibration-images photos/",
      "condi-convert convert model.pth model.safetensors",
      "condi-convert convert model.safetensors model.condi --bits 3 \\\n"
        + "  --granularity group:64",
      "condi-convert convert model.pth model.condi --calibration stats.calib.npz",
      "condi-convert convert model.pth model.condi --target-bpw 3 --dry-run",
      "condi-convert convert model.pth model.condi --recipe recipe.json",
      "condi-convert convert model.pth model.safetensors --root params_ema",
      "condi-convert convert weights.npz weights.bin --to safetensors",
      "condi-convert convert model.pth half.safetensors --cast '*=bf16' \\\n"
        + "  --drop '*.num_batches_tracked'",
      "condi-convert convert model.pth model.condi --bits 4 --rename '^module\\.='",
      "condi-convert convert model.gguf out/model.safetensors --max-shard-size 5GB",
      "condi-convert convert checkpoint/ model.condi --bits 2 --consume-input",
    ],
    essentials: [
      "--bits", "--calibration-images", "--granularity", "--keep", "--dry-run",
      "--force",
    ],
    notes: """
      NOTES
        Without a calibration, activations stay in full precision. The report lists
        what is kept, and why.
      """)

  @Argument(
    help: "A model file of any known format, or the folder of one.",
    completion: .file())
  var input: String

  @Argument(help: "The file to write; its extension chooses the format.", completion: .file())
  var output: String

  @OptionGroup var packing: PackingOptions

  func run() throws {
    let isEdited = try packing.edits.value != nil
    guard !packing.streaming.consumeInput || !isEdited else {
      throw ValidationError(
        "--consume-input deletes what it has written bit for bit, not what --rename, --drop and "
          + "--cast change")
    }
    let format = try packing.destination.format(for: output)
    if format.identifier == PackedFormat.identifier {
      try packing.pack(input, to: output)
    } else {
      try packing.quantization.refuse(for: format)
      try packing.method.refuse(for: format)
      guard packing.statement == nil else {
        throw ValidationError("--statement is for packed files")
      }
      guard !packing.dryRun || isEdited else {
        throw ValidationError(
          "--dry-run is for packing and for edits; '\(output)' would keep every bit")
      }
      guard !packing.dryRun else { return try printPlan(of: format) }
      try changeFormat(to: format)
    }
  }

  /// Writes the shards of a safetensors output one after the other, without a journal.
  private func writeShards() throws {
    guard packing.streaming.journal != true, !packing.streaming.consumeInput else {
      throw ValidationError(
        "--journal and --consume-input are for outputs of one file, without --max-shard-size")
    }
    SharedWork.noteRootIsAlone("shards are not shared", common: packing.common)
    let (archive, changes) = try edited()
    try write(archive, as: SafetensorsFormat(), reporting: changes)
  }

  /// Returns the input with all edits made, and what they changed.
  private func edited() throws -> (archive: TensorArchive, changes: ArchiveChanges?) {
    let (archive, changes) = try packing.edits.applied(
      to: ModelArgument.open(input, root: packing.root, stored: true, common: packing.common),
      path: input)
    try locatingErrors(path: input) { try archive.requireReadableTensors() }
    return (archive, changes)
  }

  /// Prints what edits would change, and writes nothing.
  private func printPlan(of format: any ModelFormat) throws {
    let (archive, changes) = try edited()
    try packing.report.print(
      changes, input: input, output: output, format: format.identifier.name, root: packing.root,
      tensorCount: archive.tensors.count, isPlan: true)
  }

  /// Writes an archive without a journal, and reports its edits.
  private func write(
    _ archive: TensorArchive, as format: any ModelFormat, reporting changes: ArchiveChanges?
  ) throws {
    try packing.destination.write(
      archive, as: format, to: output, activity: "converting", common: packing.common)
    try packing.report.print(
      changes, input: input, output: output, format: format.identifier.name, root: packing.root,
      tensorCount: archive.tensors.count)
  }

  private func changeFormat(to format: any ModelFormat) throws {
    let (streaming, common) = (packing.streaming, packing.common)
    guard packing.destination.maxShardSize == nil else { return try writeShards() }
    let request = ConversionRequest(
      input: input, output: output, root: packing.root, format: format.identifier.name, recipe: nil,
      edits: try packing.edits.value)
    if let outcome = try streaming.continued(
      request, destination: packing.destination, common: common)
    {
      return try show(outcome)
    }
    try packing.destination.check(output)
    let (archive, changes) = try edited()
    if let conversion = try streaming.conversion(
      of: archive, input: input, common: common,
      planning: {
        let conversion = try Conversion(
          request, copying: archive, root: packing.root, changes: changes)
        // A journal is JSON, whose keys cannot be all that a checkpoint's names can.
        guard (try? conversion.plan.json.checkKeys()) != nil else { return nil }
        return conversion
      })
    {
      let outcome = try streaming.run(
        conversion, of: archive, destination: packing.destination, common: common)
      return try show(outcome)
    }
    try write(archive, as: format, reporting: changes)
  }

  private func show(_ outcome: ConversionOutcome) throws {
    try StreamingOptions.show(
      outcome, input: input, output: output, report: packing.report, common: packing.common)
  }
}
