import ArgumentParser
import Formats
import Jobs
import Storage
import Transform

struct ConvertCommand: SharedCommand {
  static let configuration = CommandConfiguration(
    commandName: "convert",
    abstract: "Quantize and pack a checkpoint, or change its format bit for bit.",
    discussion: """
      To a .condi file, weights are quantized by bound search (DOBI) and packed. By default the \
      linear weights of the body are quantized, fused query-key-value weights in three parts, and \
      the convolutions of the body where they hold most of the model's weights; without a calibration \
      embedding tables get at least 4 bits and heads 6, unless --keep names them. The report lists \
      what is kept, and why. In groups (--granularity group:64), a scale and a bound take 12 bits \
      together, and are searched together. With a calibration activations are quantized, too, \
      and the method 'best' conditions weights and rounds them for the least error of the output; \
      biases change then. With --calibration-images a super-resolution model is calibrated on \
      patches of the images in a folder, and what was quantized learns from the model in full \
      precision what that puts out for others, for --minutes or --steps; with --steps the file is \
      the same for any number of threads. Weights are taken from below 'params_ema', \
      'params', 'state_dict', … and from what training tools put around them, such as 'module.'; \
      where a checkpoint has several networks, the others are named with their --root.

      Models may be larger than memory: without a calibration, one tensor a thread is in memory. From \
      1 GiB of tensors on, the output is written as OUT.part, with a journal \
      OUT.journal beside it; after whatever ended the command, the same command goes on where it \
      stopped, and the bytes are the same. 'plan', 'run' and 'finish' share the work out to several \
      machines.

      Tensors that belong together are packed as the one that they stand for, such as FP8 codes with \
      their scales, weight-norm pairs, and the codes of GPTQ, AWQ, MLX and bitsandbytes; the report \
      lists them. Factors of adapters (LoRA) are kept: they are differences to another model's weights.

      To any other format, every tensor and value is kept bit for bit, nested names joined by dots; \
      what a format cannot hold is an error. --drop, --rename and --cast, in this order, leave out \
      tensors, change names and round to another element type, in every format; all else, such as a \
      recipe, --keep or a calibration, sees the new names and types. The report counts what casts \
      lose. A packed file remembers these edits, so that it can be compared with its source. With --max-shard-size a safetensors output is divided as \
      Transformers does it: model-00001-of-00002.safetensors and so on, with \
      model.safetensors.index.json.

      EXAMPLES
        condi-convert convert model.pth model.condi --bits 2
        condi-convert convert model.safetensors model.condi --bits 3 --granularity group:64
        condi-convert convert model.pth model.condi --recipe recipe.json
        condi-convert convert model.pth model.condi --bits 2 --calibration stats.calib.npz
        condi-convert convert model.pth model.condi --bits 2 --calibration-images photos/
        condi-convert convert model.pth model.condi --target-bpw 3 --dry-run
        condi-convert convert model.pth model.safetensors --root params_ema
        condi-convert convert weights.npz weights.bin --to safetensors
        condi-convert convert model.pth half.safetensors --cast '*=bf16' --drop '*.num_batches_tracked'
        condi-convert convert model.pth model.condi --bits 4 --rename '^module\\.='
        condi-convert convert model.gguf out/model.safetensors --max-shard-size 5GB
        condi-convert convert checkpoint/ model.condi --bits 2 --consume-input
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
      guard !packing.dryRun else {
        throw ValidationError("--dry-run is for packing; '\(output)' would keep every bit")
      }
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
    let (archive, changes) = try packing.edits.applied(
      to: ModelArgument.open(input, root: packing.root, stored: true, common: packing.common),
      path: input)
    try locatingErrors(path: input) { try archive.requireReadableTensors() }
    try write(archive, as: SafetensorsFormat(), reporting: changes)
  }

  /// Writes an archive without a journal, and reports its edits.
  private func write(
    _ archive: TensorArchive, as format: any ModelFormat, reporting changes: ArchiveChanges?
  ) throws {
    try packing.destination.write(
      archive, as: format, to: output, activity: "converting", common: packing.common)
    try packing.edits.report(
      changes, of: archive, input: input, output: output, format: format, root: packing.root,
      to: packing.report)
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
    let (archive, changes) = try packing.edits.applied(
      to: ModelArgument.open(input, root: packing.root, stored: true, common: common),
      path: input)
    try locatingErrors(path: input) { try archive.requireReadableTensors() }
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
