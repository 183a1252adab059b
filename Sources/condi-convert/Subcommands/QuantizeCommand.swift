import ArgumentParser
import Formats
import Transform

struct QuantizeCommand: SharedCommand, DocumentedCommand {
  static let page = CommandPage(
    name: "quantize",
    abstract: "Quantize and pack a model whose weights are conditioned already.",
    examples: [
      "condi-convert quantize conditioned.pth model.condi --bits 2",
      "condi-convert quantize model.pth model.condi --calibration stats.calib.npz",
      "condi-convert quantize model.pth model.condi --target-bpw 3 --dry-run",
    ],
    essentials: ["--bits", "--granularity", "--method", "--calibration", "--dry-run", "--force"],
    notes: """
      NOTES
        As 'convert' to a .condi file, but weights are never conditioned.
      """)

  @Argument(
    help: "A model file of any known format, or the folder of one.",
    completion: .file())
  var input: String

  @Argument(help: "The packed file to write.", completion: .file())
  var output: String

  @OptionGroup var packing: PackingOptions

  func validate() throws {
    guard !packing.method.constraint.isGiven else {
      throw ValidationError("'quantize' conditions no weights; 'condition' or 'convert' does")
    }
  }

  func run() throws {
    let format = try packing.destination.format(for: output)
    guard format.identifier == PackedFormat.identifier else {
      throw ValidationError(
        "'quantize' writes packed files; name the output '….condi' or give --to")
    }
    try packing.pack(input, to: output, conditions: false)
  }
}
