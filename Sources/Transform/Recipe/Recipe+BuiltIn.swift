import Formats

extension Recipe {
  /// The names that `named(_:)` knows, the default first.
  public static let builtInNames = [
    "body-linear", "body-linear-and-conv", "all-linear", "keep-all",
  ]

  /// A built-in recipe.
  ///
  /// - `body-linear`: the linear layers of a transformer's body, as the papers quantize them;
  ///   embeddings, heads, position networks and norms are kept.
  /// - `body-linear-and-conv`: the convolutions between the first and the last as well.
  /// - `all-linear`: every matrix that is a weight.
  /// - `keep-all`: nothing; packing without loss.
  ///
  /// - Throws: `TransformError` that lists the names there are.
  public static func named(_ name: String) throws -> Recipe {
    switch name {
    case "body-linear": bodyLinear
    case "body-linear-and-conv": bodyLinearAndConvolution
    case "all-linear": allLinear
    case "keep-all":
      Recipe(
        name: name, rules: [.init(match: globs("*"), action: .keep)],
        allowsUnmatchedPatterns: true)
    default:
      throw TransformError(.unknownRecipe(known: builtInNames), recipe: "recipe '\(name)'")
    }
  }

  /// Names of buffers in published models of super-resolution, vision and language.
  public static let conventionalBuffers = globs(
    "*relative_position_index*", "*relative_coords_table", "*attn_mask*", "*rpe_biases",
    "*running_mean", "*running_var", "*num_batches_tracked", "*position_ids", "*inv_freq")

  /// Names of relative-position tables.
  public static let conventionalPositionTables = globs(
    "*relative_position_bias_table", "*relative_attention_bias.weight")

  /// A linear weight below this in either dimension saves next to nothing.
  private static let leastDimension = 16

  private static var bodyLinear: Recipe {
    Recipe(
      name: "body-linear", rules: keptOutsideBody + linear, allowsUnmatchedPatterns: true)
  }

  private static var bodyLinearAndConvolution: Recipe {
    let outer = RecipeRule(
      match: globs(
        "*{conv_first,conv_last,conv_hr,conv_up,conv_before_upsample,upsample}*",
        "*{shallow_extract,to_target}*", "{stem,tail,*.stem,*.tail}.*",
        "{conv1,conv_in,conv_out}.weight"),
      action: .keep)
    let convolution = RecipeRule(
      match: weights,
      where: RecipeCondition(
        ranks: [3, 4, 5], minimumDimension: leastDimension, elementKind: .floating),
      action: .quantize(.init()))
    return Recipe(
      name: "body-linear-and-conv", rules: keptOutsideBody + [outer] + linear + [convolution],
      allowsUnmatchedPatterns: true)
  }

  private static var allLinear: Recipe {
    let isMatrix = RecipeCondition(ranks: [2], minimumDimension: 1, elementKind: .floating)
    return Recipe(
      name: "all-linear",
      rules: [
        RecipeRule(
          match: fusedWeights,
          where: RecipeCondition(
            ranks: [2], minimumDimension: 1, elementKind: .floating, rowMultiple: 3),
          action: .quantize(.init(parts: 3))),
        RecipeRule(match: weights, where: isMatrix, action: .quantize(.init())),
      ],
      allowsUnmatchedPatterns: true)
  }

  /// Embeddings, heads, position networks and norms: small, sensitive, or looked up row by row.
  private static let keptOutsideBody = [
    RecipeRule(
      match: globs(
        "*embed*", "{wte,wpe,*.wte,*.wpe}.*", "{shared,*.shared}.weight", "*pos_proj*",
        "*pos[0-9]*", "*position*", "*relative_attention_bias*", "*norm*", "*lm_head*",
        "{head,*.head,heads.*,*_head,fc,output,classifier,*.classifier}.weight"),
      action: .keep)
  ]

  private static let linear = [
    RecipeRule(
      match: fusedWeights,
      where: RecipeCondition(
        ranks: [2], minimumDimension: leastDimension, elementKind: .floating, rowMultiple: 3),
      action: .quantize(.init(parts: 3))),
    RecipeRule(
      match: weights,
      where: RecipeCondition(
        ranks: [2], minimumDimension: leastDimension, elementKind: .floating),
      action: .quantize(.init())),
  ]

  /// Query, key and value stacked along the output axis.
  private static let fusedWeights = globs("*qkv.weight", "*in_proj_weight")
  private static let weights = globs("{weight,*.weight,*in_proj_weight}")

  /// Patterns written here, so that one that does not parse is a mistake here.
  private static func globs(_ patterns: String...) -> [NameGlob] {
    patterns.map { pattern in
      guard let glob = try? NameGlob(pattern) else {
        preconditionFailure("the built-in pattern '\(pattern)' is not valid")
      }
      return glob
    }
  }
}
