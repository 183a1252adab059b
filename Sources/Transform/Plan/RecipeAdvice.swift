import Formats
import OrderedCollections
import Storage

/// An alternative to a recipe that selects no tensor of a model.
struct RecipeAdvice {
  /// A sentence that says what to do, without a full stop.
  let text: String

  /// - Returns: `nil` when nothing of the model should be quantized. Factors of adapters should be
  ///   merged first, as the reason for keeping them says.
  init?(_ archive: TensorArchive, insteadOf recipe: Recipe) {
    func count(_ candidate: Recipe) -> Int? {
      let plan = try? QuantizationPlan(allowingNothing: archive, recipe: candidate)
      guard let plan, !plan.quantizesNothing else { return nil }
      return plan.quantizedNames.count
    }
    for name in Recipe.builtInNames where name != recipe.name {
      guard let candidate = try? Recipe.named(name), let count = count(candidate) else { continue }
      text = "the recipe '\(name)' selects \(count)"
      return
    }
    for pattern in Self.patterns(archive) {
      let rule = JSONValue.object([
        "match": .string(pattern), "action": .string("quantize"),
      ])
      let json = JSONValue.object([
        "bits": .integer(recipe.defaults.bitWidth), "rules": .array([rule]),
      ])
      guard let candidate = try? Recipe(json), count(candidate) != nil else { continue }
      text = "write a recipe such as \(json.serialized())"
      return
    }
    return nil
  }

  /// Returns patterns, from the widest to the narrowest, that match the largest tensor that could
  /// be quantized and is not a factor of an adapter.
  private static func patterns(_ archive: TensorArchive) -> [String] {
    let adapters = archive.assembled().groups.filter { $0.kind == .lowRank }
    let factors = Set(adapters.flatMap(\.parts))
    let largest = archive.tensors.filter { name, tensor in
      QuantizedTensor.supportedElementTypes.contains(tensor.elementType)
        && tensor.shape.rank >= 1 && !factors.contains(name)
    }.max { $0.value.byteCount < $1.value.byteCount }
    guard let name = largest?.key else { return [] }
    let exact = name.map { "\\*?[]{},".contains($0) ? "\\\($0)" : String($0) }.joined()
    guard let dot = name.lastIndex(of: ".") else { return [exact] }
    let end = name[dot...]
    return end.contains { "\\*?[]{},".contains($0) } ? [exact] : ["*\(end)", exact]
  }
}
