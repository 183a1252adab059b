import ArgumentParser
import Formats
import Transform

struct QuantizeCommand: SharedCommand {
  static let configuration = CommandConfiguration(
    commandName: "quantize",
    abstract: "Quantize and pack a model whose weights are conditioned already.",
    discussion: """
      As 'convert' to a .condi file, but weights are never conditioned: for the output of \
      'condition', or to see what conditioning is worth.

      EXAMPLES
        condi-convert quantize conditioned.pth model.condi --bits 2 --calibration stats.calib.npz
        condi-convert quantize model.pth model.condi --target-bpw 3 --dry-run
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
