import Formats

/// Lists the tensors of a model file of any format, and saves them all as safetensors.
@main
struct ListTensors {
  static func main() throws {
    guard CommandLine.arguments.count == 3 else {
      fatalError("usage: ListTensors MODEL OUT.safetensors")
    }
    let archive = try FormatRegistry.standard.open(CommandLine.arguments[1])
    for (name, tensor) in archive.tensors {
      print(name, tensor.elementType, tensor.shape)
    }
    // A tensor's bytes are read here and not before; the file appears whole or not at all.
    if let (name, tensor) = archive.tensors.first(where: { $0.value.elementType == .float32 }) {
      let values = try tensor.floatValues()
      print("\(name) lies between", values.min() ?? .nan, "and", values.max() ?? .nan)
    }
    try FormatRegistry.standard.write(
      archive, as: SafetensorsFormat(), to: CommandLine.arguments[2])
  }
}
