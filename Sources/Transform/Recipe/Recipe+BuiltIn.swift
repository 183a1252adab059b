import Formats
import Storage

extension Recipe {
  /// The names that `named(_:)` accepts, beginning with the default.
  public static let builtInNames = [
    "body", "body-linear", "body-linear-and-conv", "all-linear", "keep-all",
  ]

  /// Returns the recipe `body` with a method that is calibrated on images of a folder, as
  /// `convert --calibration-images` uses it.
  ///
  /// - Parameters:
  ///   - bitWidth: the bit width of a quantized weight, 1 to 8.
  ///   - patches: the patches of images that activations are recorded on.
  ///   - limit: the length of the distillation; `nil` for none. With a number of steps, the result
  ///     is the same on all machines of one kind.
  public static func calibrated(
    bitWidth: Int, method: QuantizationMethod = .best,
    patches: CalibrationRecipe.Patches = .init(),
    learningFor limit: DistillationRecipe.Limit? = .minutes(2)
  ) -> Recipe {
    var recipe = Recipe(
      name: builtInNames[0], rules: bodyRules() + remainder, allowsUnmatchedPatterns: true)
    recipe.defaults.bitWidth = bitWidth
    recipe.defaults.search = method.search
    recipe.method = MethodSettings(
      method, calibration: CalibrationRecipe(patches: patches),
      distillation: limit.map {
        DistillationRecipe(
          limit: $0, patchSide: min(DistillationRecipe.standardPatchSide, patches.side),
          seed: patches.seed)
      })
    return recipe
  }

  private static func bodyRules(_ granularity: QuantizationGranularity? = nil) -> [RecipeRule] {
    outsideBody + linear(from: leastDimension) + convolutions(in: .convolutional, granularity)
  }

  /// Returns a built-in recipe.
  ///
  /// - `body`: quantizes the linear layers of the body, and its convolutions if they hold most of
  ///   the model's weights; tails, position networks, norms and depthwise convolutions are kept.
  ///   Embedding tables get at least four bits and heads six if each weight is quantized on its own;
  ///   the other methods keep them.
  /// - `body-linear`: quantizes only the linear layers, as the papers do for transformers.
  /// - `body-linear-and-conv`: quantizes both linear layers and convolutions of the body,
  ///   regardless of which hold more weights.
  /// - `all-linear`: quantizes every matrix that is a weight.
  /// - `keep-all`: quantizes nothing, which packs without loss.
  ///
  /// - Parameter granularity: what has bounds of its own, except in tables; `nil` for output channels
  ///   of convolutions and whole tensors of the rest.
  /// - Throws: `ModelError` that lists the valid names.
  public static func named(
    _ name: String, granularity: QuantizationGranularity? = nil
  ) throws -> Recipe {
    let rules: [RecipeRule]
    switch name {
    case "body": rules = bodyRules(granularity)
    case "body-linear": rules = outsideBody + linear(from: leastDimension)
    case "body-linear-and-conv":
      rules = outsideBody + linear(from: leastDimension) + convolutions(in: nil, granularity)
    case "all-linear": rules = [codes, halves, parametrized, factors] + linear(from: 1)
    case "keep-all": rules = [keep("*", because: "the recipe keeps every tensor")]
    default:
      throw ModelError(
        "there is no built-in recipe of this name, only \(builtInNames.joined(separator: ", "))",
        path: "recipe '\(name)'")
    }
    var recipe = Recipe(
      name: name, rules: name == "keep-all" ? rules : rules + remainder,
      allowsUnmatchedPatterns: true)
    if let granularity { recipe.defaults.granularity = granularity }
    return recipe
  }

  /// Names of buffers in published models for super-resolution, vision and language, and of the
  /// counters that training tools leave in them.
  public static let conventionalBuffers = globs(
    "*relative_position_index*", "*relative_coords_table", "*attn_mask*", "*rpe_biases",
    "*running_mean", "*running_var", "*num_batches_tracked", "*position_ids", "*inv_freq",
    "{total_ops,*.total_ops,total_params,*.total_params,n_averaged}")

  /// Names of relative-position tables.
  public static let conventionalPositionTables = globs(
    "*relative_position_bias_table", "*relative_attention_bias.weight")

  /// A weight that is smaller than this in either dimension saves almost nothing.
  private static let leastDimension = 16

  private static let convolutionRanks = [3, 4, 5]

  // MARK: What stays outside the body

  /// The first rules of the recipes for a model's body, each with why it keeps tensors.
  private static let outsideBody = [
    codes, halves, parametrized, factors,
    table(embeddings, hasBias: false, leastBitWidth: leastTableBitWidth),
    table(unnamedEmbeddings, leastBitWidth: leastTableBitWidth),
    keep(
      embeddings, where: RecipeCondition(ranks: [2, 3], elementKind: .floating, hasBias: false),
      because: "embedding table, read row by row"),
    keep(
      "{embedding,*.embedding,*/embedding,*embeddings:0,*embeddings}",
      "{*pos_embed,*pos_embedding,*position_embedding,*positional_embedding,*pos_emb}",
      where: matrices(), because: "embedding table, read row by row"),
    keep(
      "*.pos.pos*", "*pos_proj.*", "*.pos[0-9].*", "*.cpb_mlp.*", "*relative_position*",
      "*relative_attention_bias*", "*rel_pos*", "*position_bias*", where: matrices(),
      because: "position table or network"),
    keep(
      "*norm.weight", "*norm[0-9].weight", "*norm[0-9][0-9].weight", where: matrices(),
      because: "normalization"),
    table(heads, leastBitWidth: leastHeadBitWidth),
    keep(heads, where: matrices(), because: "head"),
    keep(
      "*{conv_first,conv_last,conv_hr,HRconv,conv_up,upconv,conv_before_upsample}*",
      "{upsample,*.upsample,upsampler,*.upsampler,*shallow_extract,*to_target}.*",
      "{stem,*.stem,tail,*.tail}.*", "{conv1,conv_in,conv_out}.weight",
      where: RecipeCondition(ranks: convolutionRanks, elementKind: .floating),
      because: firstOrLast),
    keep(
      "*", where: RecipeCondition(elementKind: .floating, makesPixels: true),
      because: firstOrLast),
  ]

  /// The bit width that embedding tables have at least, where each weight is quantized on its own:
  /// at four bits, those of a sentence encoder cost a twentieth of what its other weights do.
  package static let leastTableBitWidth = 4
  /// The bit width that heads have at least, as llama.cpp has it for output layers.
  package static let leastHeadBitWidth = 6

  private static let embeddings = globs(
    "{*embed,*embeds,*embedding,*embeddings,*embedding_table,*_emb,*.emb,emb}.weight",
    "*embed_{tokens,positions,in,patches,tokens_per_layer}.weight", "{wte,wpe,*.wte,*.wpe}.*",
    "{shared,*.shared}.weight")
  private static let unnamedEmbeddings = globs(
    "{embedding,*.embedding,*/embedding,*embeddings:0}")
  private static let heads = globs(
    "{head,*.head,heads.*,*_head,fc,output,classifier,*.classifier}.weight",
    "*lm_head*", "{embed_out,*.embed_out}.weight")

  /// Returns a rule for a table that may hold much of a model. Its rows differ in size, so it is
  /// quantized in groups.
  private static func table(
    _ match: [NameGlob], hasBias: Bool? = nil, leastBitWidth: Int
  ) -> RecipeRule {
    RecipeRule(
      match: match,
      where: RecipeCondition(
        ranks: [2], minimumDimension: leastDimension, elementKind: .floating, hasBias: hasBias,
        method: .nearest),
      action: .quantize(.init(leastBitWidth: leastBitWidth, granularity: .group(64))))
  }

  /// Returns a sentence about the embedding tables and heads among the quantized tensors; `nil` if the
  /// model has neither.
  package static func remark(onTables layers: [(name: String, bitWidth: Int)]) -> String? {
    let names = embeddings + unnamedEmbeddings + heads
    let tables = layers.filter { layer in
      layer.bitWidth >= leastTableBitWidth && names.contains { $0.matches(layer.name) }
    }
    guard let first = tables.first else { return nil }
    let others = tables.count == 1 ? "" : " and \(counted(tables.count - 1, "other"))"
    return "Embedding tables have at least \(leastTableBitWidth) bits, heads "
      + "\(leastHeadBitWidth): '\(first.name)'\(others); --keep PATTERN keeps them in full precision."
  }

  private static let firstOrLast = "first, last or enlarging convolution"

  /// Keeps elements of formats that have their own scales.
  private static let codes = keep(
    "*", where: RecipeCondition(elementKind: .narrow), because: "elements of fewer than 16 bits")

  /// Keeps parts that could not be assembled.
  private static let halves = keep(
    "*weight_[gv]", "*parametrizations.*.original[01]", where: matrices(),
    because: "half of a weight-norm pair")
  private static let parametrized = keep(
    "*parametrizations.*.original", "*weight_orig", where: matrices(),
    because: "part of a parametrized weight")

  /// Keeps factors of adapters.
  private static let factors = keep(
    "*{lora_A,lora_B,lora_up,lora_down,lora_mid,lora_embedding_A,lora_embedding_B}*",
    "*{lora.up,lora.down,_lora.up,_lora.down}.*", "*{hada_w,hada_t,lokr_w,lokr_t}*", "*.oft_*",
    because:
      "factor of an adapter: a difference to another model's weights; merge it into them first")

  // MARK: What is quantized

  /// Returns rules for linear layers, and for experts that are stacked in one tensor.
  ///
  /// - Parameter dimension: the least dimension; smaller weights are left to later rules.
  private static func linear(from dimension: Int) -> [RecipeRule] {
    [
      RecipeRule(
        match: fusedWeights,
        where: RecipeCondition(
          ranks: [2], minimumDimension: dimension, elementKind: .floating, rowMultiple: 3),
        action: .quantize(.init(parts: 3))),
      RecipeRule(
        match: weights + kernels,
        where: RecipeCondition(
          ranks: [2], minimumDimension: dimension, elementKind: .floating),
        action: .quantize(.init())),
      RecipeRule(
        match: stackedExperts,
        where: RecipeCondition(
          ranks: [3], minimumChannels: leastDimension, channelAxes: .last,
          elementKind: .floating),
        action: .quantize(.init(parts: .firstAxis))),
    ]
  }

  /// Returns rules for convolutions, except those with few channels, such as depthwise ones.
  ///
  /// Output channels that come first have bounds of their own: kernels that a training form was
  /// merged into differ widely from channel to channel.
  ///
  /// - Parameter granularity: what has bounds of its own instead.
  private static func convolutions(
    in model: RecipeCondition.ModelKind?, _ granularity: QuantizationGranularity?
  ) -> [RecipeRule] {
    func rule(
      _ names: [NameGlob], _ axes: RecipeCondition.ChannelAxes, _ own: QuantizationGranularity?
    ) -> RecipeRule {
      RecipeRule(
        match: names,
        where: RecipeCondition(
          ranks: convolutionRanks, minimumChannels: leastDimension, channelAxes: axes,
          elementKind: .floating, model: model),
        action: .quantize(.init(granularity: own)))
    }
    return [rule(weights, .first, granularity == nil ? .channel : nil), rule(kernels, .last, nil)]
  }

  /// Query, key and value stacked along the output axis.
  private static let fusedWeights = globs("*qkv.weight", "*in_proj_weight", "*qkv_{w,weight}")
  /// Names of weights `[out, in, …]`.
  private static let weights = globs(
    "{weight,*.weight,*/weight,*_weight}", "*weight_[ih]h_l*", "{w,W,*.w,*.W,*/w,*_w,*_W}",
    "*.w[0-9]", "*{weights,/w,_w,weight}:0")
  /// Names of weights `[…, in, out]`.
  private static let kernels = globs("{kernel,*.kernel,*/kernel,*_kernel,*kernel:0}")
  /// Names of weights `[expert, …, …]`.
  private static let stackedExperts = globs(
    "*{expert,moe}*{proj,weight,kernel,linear}", "*expert*.w*")

  // MARK: What is left

  /// The last rules, which say why the remaining tensors are kept.
  private static let remainder = [
    keep("*", where: RecipeCondition(ranks: [0, 1]), because: "vector or single number"),
    keep(
      weights,
      where: RecipeCondition(
        ranks: convolutionRanks, minimumChannels: leastDimension, elementKind: .floating),
      because: convolution),
    keep(
      kernels,
      where: RecipeCondition(
        ranks: convolutionRanks, minimumChannels: leastDimension, channelAxes: .last,
        elementKind: .floating),
      because: convolution),
    keep(
      weights + kernels,
      where: RecipeCondition(ranks: convolutionRanks, elementKind: .floating),
      because: "convolution of fewer than \(leastDimension) channels"),
    keep(
      weights + kernels + stackedExperts, where: RecipeCondition(elementKind: .floating),
      because: "narrower than \(leastDimension)"),
    keep("*", where: matrices(), because: "not named as a weight"),
    keep("*", because: "not of floating-point numbers"),
  ]

  private static let convolution = "convolution; 'body-linear-and-conv' quantizes it"

  private static func matrices() -> RecipeCondition {
    RecipeCondition(ranks: Array(2...8), elementKind: .floating)
  }

  private static func keep(
    _ patterns: String..., where condition: RecipeCondition = .init(), because reason: String
  ) -> RecipeRule {
    keep(globs(patterns), where: condition, because: reason)
  }

  private static func keep(
    _ match: [NameGlob], where condition: RecipeCondition, because reason: String
  ) -> RecipeRule {
    RecipeRule(match: match, where: condition, action: .keep, reason: reason)
  }

  private static func globs(_ patterns: String...) -> [NameGlob] { globs(patterns) }

  /// Parses patterns that are written in this file, so an invalid one is a programming error.
  private static func globs(_ patterns: [String]) -> [NameGlob] {
    patterns.map { pattern in
      guard let glob = try? NameGlob(pattern) else {
        preconditionFailure("the built-in pattern '\(pattern)' is not valid")
      }
      return glob
    }
  }
}
