import ArgumentParser
import Formats
import Transform

/// Options for the quantization of weights in packed output.
struct QuantizationOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Bits of a quantized weight, 1 to 8 (4 unless the recipe says).", valueName: "n"))
  var bits: Int?

  @Option(
    help: ArgumentHelp(
      "What has bounds of its own: tensor, channel (a row) or group:N (N weights of a row). Tensor "
        + "unless the recipe says.", valueName: "what"))
  var granularity: String?

  @Option(
    name: .customLong("recipe"),
    help: ArgumentHelp(
      "A recipe file, or one of: \(Recipe.builtInNames.joined(separator: ", ")).",
      valueName: "file|name"), completion: .file())
  var recipeName: String?

  func validate() throws {
    if let bits, !(1...8).contains(bits) {
      throw ValidationError("--bits takes a number from 1 to 8")
    }
    if let granularity, QuantizationGranularity(granularity) == nil {
      throw ValidationError("--granularity takes 'tensor', 'channel' or 'group:N'")
    }
  }

  /// Returns the recipe with its defaults overridden by the command line.
  func recipe() throws -> Recipe {
    var recipe = try Self.recipe(recipeName ?? Recipe.builtInNames[0])
    if let bits { recipe.defaults.bitWidth = bits }
    if let granularity = granularity.flatMap({ QuantizationGranularity($0) }) {
      recipe.defaults.granularity = granularity
    }
    return recipe
  }

  static func recipe(_ name: String) throws -> Recipe {
    guard !Recipe.builtInNames.contains(name) else { return try Recipe.named(name) }
    // A name that is not built in and does not look like a path is a misspelt name.
    guard name.contains("/") || name.contains(".") else { return try Recipe.named(name) }
    return try Recipe(contentsOf: name)
  }

  /// Rejects these options for plain conversion.
  func refuse(for format: any ModelFormat) throws {
    guard bits == nil, granularity == nil, recipeName == nil else {
      throw ValidationError(
        "--bits, --granularity and --recipe are for packing; \(format.identifier.displayName) "
          + "output keeps every bit")
    }
  }
}
