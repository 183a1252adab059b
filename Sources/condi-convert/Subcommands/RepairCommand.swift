import ArgumentParser
import Formats
import LinearAlgebra
import Storage
import Transform

struct RepairCommand: DocumentedCommand {
  static let page = CommandPage(
    name: "repair",
    abstract: "Restore a damaged packed file from the full-precision model it was made from.",
    examples: [
      "condi-convert repair damaged.condi model.pth model.condi",
      "condi-convert repair damaged.condi model.pth model.condi \\\n"
        + "  --calibration-images photos/",
      "condi-convert repair cut-off.condi model.pth model.condi --bits 2",
    ],
    essentials: ["--calibration-images", "--force"],
    notes: """
      EXIT CODES
        0 restored, byte for byte, 2 it cannot be, or an error
      """)

  @Argument(help: "A damaged packed file.", completion: .file())
  var damaged: String

  @Argument(help: "The full-precision model it was made from.", completion: .file())
  var reference: String

  @Argument(help: "The file to write.", completion: .file())
  var output: String

  @Flag(help: "Replace an existing output.")
  var force = false

  @Option(
    help: ArgumentHelp(
      "The part of a nested reference; by default the part that was packed.", valueName: "name"))
  var root: String?

  @OptionGroup(title: "Packing, where the header is lost")
  var quantization: QuantizationOptions

  @OptionGroup(title: "Calibrated files") var material: ReproductionOptions

  @OptionGroup(title: "Running") var common: CommonOptions

  func run() throws {
    let examination = try PackedArgument.examine(
      PackedArgument.open(damaged, common: common), path: damaged, common: common)
    guard let model = examination.model else {
      return try packAgain(for: examination)
    }
    let archive = try ModelArgument.openReference(
      reference, root: root, sourceRoot: model.header.source?.root,
      edits: model.header.source?.edits, header: model.header, common: common)
    let restoration = try PackedArgument.restoration(
      examination, archive, calibratedWith: material.material(common), name: reference,
      common: common)
    for part in restoration.parts {
      let result =
        part.method.map { "restored (\($0.rawValue))" } ?? "NOT restored: \(part.obstacle ?? "")"
      Console.note("\(damaged): \(part.fault.place): \(result)", unless: common.quiet)
    }
    try OutputDestination.check(output, replacesExisting: force)
    try restoration.plan().write(
      to: output, replacesExisting: force, runningTasks: common.workers().tasks)
    Console.note(
      restoration.parts.isEmpty
        ? "\(damaged) is whole; \(output) is a copy of it"
        : "wrote \(output); its checksums confirm every byte", unless: common.quiet)
  }

  /// Packs the whole file again, because nothing is known about the records without a header. If
  /// the file's prologue survives, it proves whether the result is the original file.
  private func packAgain(for examination: PackedExamination) throws {
    guard let proof = examination.headerProof else {
      throw ModelError.malformed(
        "neither the prologue nor the header can be read, so nothing would prove that the file was "
          + "restored", path: damaged)
    }
    guard !material.isGiven else {
      throw ModelError.unsupported(
        "its header is lost, and with it how it was calibrated; only files that were packed without a "
          + "calibration can be packed again by options", path: damaged)
    }
    let (archive, root) = try ModelArgument.openWeights(reference, root: root, common: common)
    let packer = try ModelPacker(
      archive, recipe: quantization.recipe(), source: PackedHeader.Source(archive, root: root),
      threads: common.threads)
    try locatingErrors(path: damaged) {
      _ = try packer.write(to: output, replacesExisting: force, expecting: proof)
    }
    Console.note(
      "\(damaged): the header was lost; \(output) was packed again and has the header's checksum",
      unless: common.quiet)
  }
}
