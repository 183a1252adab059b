import Formats
import Foundation
import FuzzTargets
import Storage
import Transform

/// Seeds that are packed files of every encoding, which the fixtures lack.
struct PackedSeeds {
  let folder: String

  func write(from paths: [String]) throws {
    // Selects every tensor that can be quantized at all, however small.
    let matrices = RecipeCondition(ranks: [2, 3, 4], minimumDimension: 1, elementKind: .floating)
    let recipe = Recipe(
      name: "seeds",
      rules: [
        RecipeRule(match: [try NameGlob("*")], where: matrices, action: .quantize(.init())),
        RecipeRule(match: [try NameGlob("*")], action: .keep),
      ],
      allowsUnmatchedPatterns: true)
    var groups = recipe
    groups.defaults.granularity = .group(4)
    let kinds: [(String, Recipe?)] = [
      ("lossless", nil), ("quantized", recipe), ("groups", groups),
    ]
    for path in paths {
      guard let archive = try? FormatRegistry.standard.open(path),
        archive.tensorByteCount <= 1 << 15
      else { continue }
      let name = path.replacing("/", with: "-")
      for (kind, recipe) in kinds {
        let output = "\(folder)/condi/\(name)-\(kind)"
        do {
          if let recipe {
            try Compressor(archive, recipe: recipe).write(to: output, replacesExisting: true)
          } else {
            try FormatRegistry.standard.write(
              archive, as: PackedFormat(), to: output, replacesExisting: true)
          }
        } catch { continue }  // the recipe matches nothing here, or a tensor is damaged
        let model = try PackedModel(parsing: InputFile(path: output))
        let target = "\(folder)/condi-header/\((output as NSString).lastPathComponent)"
        try Data(PackedBytes.input(for: model)).write(to: URL(filePath: target))
      }
    }
  }
}
