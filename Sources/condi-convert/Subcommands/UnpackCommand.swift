import ArgumentParser
import Formats
import Storage

struct UnpackCommand: DocumentedCommand {
  static let page = CommandPage(
    name: "unpack",
    abstract: "Dequantize a packed model into a format that other programs read.",
    examples: [
      "condi-convert unpack model.condi model.pth",
      "condi-convert unpack model.condi model.safetensors --force",
      "condi-convert unpack model.condi model.pth --cast '*=f16'",
    ],
    essentials: ["--to", "--cast", "--force"])

  @Argument(help: "A packed file.", completion: .file())
  var packed: String

  @Argument(help: "The file to write; its extension chooses the format.", completion: .file())
  var output: String

  @OptionGroup(title: "Output") var destination: OutputOptions
  @OptionGroup(title: "Names and types") var edits: EditOptions
  @OptionGroup(title: "Report") var report: ReportOptions
  @OptionGroup(title: "Running") var common: CommonOptions

  func run() throws {
    let format = try destination.format(for: output)
    guard format.identifier != PackedFormat.identifier else {
      throw ValidationError("'\(output)' would be packed again; choose another extension or --to")
    }
    let input = try InputFile(path: StandardInput.path(packed), access: common.access)
    guard PackedFormat().recognizes(input) else {
      throw ModelError.unsupported(
        "it is not a packed file; 'convert' changes the format of other files", path: packed)
    }
    let (archive, changes) = try edits.applied(to: PackedFormat().read(input), path: packed)
    try destination.write(
      archive, as: format, to: output, activity: "unpacking", common: common)
    try report.print(
      changes, input: packed, output: output, format: format.identifier.name, root: nil,
      tensorCount: archive.tensors.count)
  }
}
