import ArgumentParser
import Formats
import Storage
import Transform

extension QuantizationParameterType: ExpressibleByArgument {}

/// Options for the quantization of weights in packed output.
struct QuantizationOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Bits of a quantized weight, 1 to 8 (4 unless the recipe says).", valueName: "n"))
  var bits: Int?

  @Option(
    help: ArgumentHelp(
      "What has bounds of its own: tensor, channel (a row) or group:N (N weights of a row). Tensor, or "
        + "channel of a convolution, unless the recipe says.", valueName: "what"))
  var granularity: String?

  @Option(
    help: ArgumentHelp(
      "How bounds are stored; scaled6 is for groups: 6 bits each under a factor per row "
        + "('scaled6' for groups without calibration, else 'float32').",
      valueName: "type"))
  var parameters: QuantizationParameterType?

  @Option(
    help: ArgumentHelp(
      "Keep tensors of this name as they are, such as embeddings ('*embed*'); may be repeated.",
      valueName: "pattern"))
  var keep: [String] = []

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
    for pattern in keep {
      do {
        _ = try NameGlob(pattern)
      } catch {
        throw ValidationError("--keep '\(pattern)': \(error)")
      }
    }
  }

  /// Returns the recipe with its defaults overridden by the command line.
  func recipe() throws -> Recipe {
    var recipe = try Self.recipe(
      recipeName ?? Recipe.builtInNames[0],
      granularity: granularity.flatMap { QuantizationGranularity($0) })
    if let bits { recipe.defaults.bitWidth = bits }
    if let parameters { recipe.defaults.parameterType = parameters }
    recipe.rules.insert(
      contentsOf: try keep.map {
        RecipeRule(match: [try NameGlob($0)], action: .keep, reason: "--keep '\($0)'")
      }, at: 0)
    return recipe
  }

  /// Returns a built-in recipe or that of a file.
  ///
  /// - Parameter granularity: instead of the recipe's default.
  static func recipe(
    _ name: String, granularity: QuantizationGranularity? = nil
  ) throws -> Recipe {
    // A name that is not built in and does not look like a path is a misspelt name.
    guard !Recipe.builtInNames.contains(name), name.contains("/") || name.contains(".") else {
      return try Recipe.named(name, granularity: granularity)
    }
    var recipe = try Recipe(contentsOf: name)
    if let granularity { recipe.defaults.granularity = granularity }
    return recipe
  }

  /// - Throws: `ModelError` when a pattern of `--keep` matches no name.
  func check(_ names: some Collection<String>) throws {
    for pattern in keep {
      let glob = try NameGlob(pattern)
      guard names.contains(where: glob.matches) else {
        throw ModelError(
          "no tensor name matches --keep '\(pattern)'" + glob.suggestion(among: names))
      }
    }
  }

  /// Rejects these options for plain conversion.
  func refuse(for format: any ModelFormat) throws {
    guard bits == nil, granularity == nil, parameters == nil, keep.isEmpty, recipeName == nil
    else {
      throw ValidationError(
        "--bits, --granularity, --parameters, --keep and --recipe are for packing; "
          + "\(format.identifier.displayName) output keeps every bit")
    }
  }
}
