import Formats
import Testing

@testable import Transform

@Suite("Quantization plan")
struct QuantizationPlanTests {
  private func plan(_ archive: TensorArchive, _ recipe: String, bits: Int = 4) throws
    -> QuantizationPlan
  {
    var recipe = try Recipe.named(recipe)
    recipe.defaults.bitWidth = bits
    return try QuantizationPlan(archive, recipe: recipe)
  }

  /// The table in the packed format's page, to the digits that it shows.
  @Test(arguments: [(2, 3.600, 3.301), (3, 3.313, 3.066), (4, 3.068, 2.862)])
  func ratiosAreThoseOfThePapers(bits: Int, paper: Double, parameters: Double) throws {
    let plan = try plan(ModelIndex.swinIRLight(scale: 4), "body-linear", bits: bits)
    #expect(plan.quantizedNames.count == 96)
    #expect(plan.quantizedElementCount == 691_200)
    #expect(plan.parameterCount == 897_228 + 24 * 225 * 6)
    let kept = 897_228 - 691_200
    #expect(plan.ratios.paper == Double(32 * 897_228) / Double(32 * kept + bits * 691_200))
    #expect((plan.ratios.paper * 1_000).rounded() / 1_000 == paper)
    #expect((plan.ratios.parameters * 1_000).rounded() / 1_000 == parameters)
  }

  @Test func sizesAreExact() throws {
    let plan = try plan(ModelIndex.swinIRLight(scale: 2), "body-linear", bits: 2)
    let qkv = try #require(plan.entries["layers.0.residual_group.blocks.0.attn.qkv.weight"])
    #expect(qkv.role == .weight)
    let quantization = try #require(qkv.quantization)
    #expect(quantization.layout.parts == 3)
    #expect(quantization.codeByteCount == 180 * 60 * 2 / 8)
    #expect(quantization.parameterByteCount == 3 * 2 * 4)
    #expect(qkv.payloadByteCount == 2_700 + 24)
    let table = plan.entries["layers.0.residual_group.blocks.0.attn.relative_position_bias_table"]
    #expect(table?.role == .positionTable)
    #expect(table?.payloadByteCount == 225 * 6 * 4)
    #expect(plan.entries["norm.weight"]?.role == .parameter)
    #expect(plan.entries["conv_first.weight"]?.role == .weight)
    #expect(plan.entries["conv_first.weight"]?.quantization == nil)
    // Codes, (3 + 1 + 1 + 1) quantizers a block, and every other parameter in full.
    #expect(
      plan.payloadByteCount
        == 691_200 / 4 + 24 * 6 * 8 + 4 * (plan.parameterCount - 691_200))
    #expect(plan.bufferByteCount == 24 * 64 * 64 * 8 + 12 * 64 * 64 * 64 * 4)
  }

  @Test func bodyLinearOfDAT() throws {
    let plan = try plan(ModelIndex.datLight(blocks: 18), "body-linear")
    #expect(plan.quantizedNames.count == 72)
    #expect(
      plan.quantizedNames.prefix(4) == [
        "layers.0.blocks.0.attn.qkv.weight", "layers.0.blocks.0.attn.proj.weight",
        "layers.0.blocks.0.ffn.fc1.weight", "layers.0.blocks.0.ffn.fc2.weight",
      ])
    let buffers = plan.entries.values.filter { $0.role == .buffer }.prefix(5).map(\.name)
    let block = "layers.0.blocks.0.attn"
    #expect(
      buffers == [
        "\(block).attns.0.rpe_biases", "\(block).attns.0.relative_position_index",
        "\(block).dwconv.1.running_mean", "\(block).dwconv.1.num_batches_tracked",
        "\(block).attn_mask_0",
      ])
    #expect(plan.entries["\(block).temperature"]?.role == .parameter)
  }

  @Test func builtInRecipesOnOtherModels() throws {
    let block = "layers.0.residual_group.blocks.0"
    let ngram = "encoder_layer1.blocks.0.ngram_window_partition.ngram_context"
    let linear = [
      "\(block).correlation.proj.weight", "\(block).mlp.fc1.weight", "\(block).mlp.fc2.weight",
      "\(ngram).ngram_attn.qkv.weight", "\(ngram).ngram_attn.proj.weight",
      "encoder_layer1.downsample.reduction.weight", "bottleneck.pointwise.weight",
    ]
    let archive = try ModelIndex.hierarchical()
    #expect(try plan(archive, "body-linear").quantizedNames == linear)
    let convolutions = [
      "\(block).correlation.qv.linear.weight",
      "\(block).mlp.dwconv.depthwise_conv.0.weight", "\(ngram).merge.weight",
    ]
    #expect(
      try Set(plan(archive, "body-linear-and-conv").quantizedNames) == Set(linear + convolutions))
    #expect(
      try Set(plan(archive, "all-linear").quantizedNames)
        == Set(
          linear + [
            "\(block).correlation.spatial_linear.weight",
            "\(block).correlation.pos.pos3.2.weight",
          ]))
    let swinIR = try plan(ModelIndex.swinIRLight(scale: 2), "body-linear-and-conv")
    #expect(swinIR.quantizedNames.count == 96 + 4 + 1)
    let language = try plan(ModelIndex.language(), "body-linear")
    #expect(
      language.quantizedNames == [
        "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.in_proj_weight",
      ])
    #expect(try plan(ModelIndex.language(), "all-linear").quantizedNames.count == 7)
  }

  @Test func keepAllKeepsAll() throws {
    let archive = try ModelIndex.swinIRLight(scale: 2)
    let plan = try plan(archive, "keep-all")
    #expect(plan.quantizedNames == [])
    #expect(plan.ratios.paper == 1)
    #expect(plan.ratios.parameters == 1)
    #expect(plan.payloadByteCount + plan.bufferByteCount == archive.tensorByteCount)
    #expect(Array(plan.entries.keys) == Array(archive.tensors.keys))
    let empty = try QuantizationPlan(TensorArchive(), recipe: .named("keep-all"))
    #expect(empty.ratios.paper == 1)
  }

  @Test func granularityAndPartsGiveTheLayout() throws {
    var recipe = try Recipe.named("body-linear")
    recipe.defaults.granularity = .group(32)
    recipe.defaults.parameterType = .float16
    let plan = try QuantizationPlan(ModelIndex.swinIRLight(scale: 2), recipe: recipe)
    let qkv = plan.entries["layers.0.residual_group.blocks.0.attn.qkv.weight"]?.quantization
    #expect(qkv?.layout.parts == 1)
    #expect(qkv?.layout.cellCount == 180 * 2)
    #expect(qkv?.parameterByteCount == 180 * 2 * 2 * 2)
  }

  private func glob(_ pattern: String) throws -> NameGlob { try NameGlob(pattern) }

  @Test func unmatchedPatternsAreNamed() throws {
    let recipe = Recipe(
      name: "mine",
      rules: [
        RecipeRule(match: [try glob("*.fc1.*")], action: .keep),
        RecipeRule(match: [try glob("*.qkv.weight"), try glob("*.fc9.*")], action: .keep),
      ])
    let error = TransformError(.unmatchedPattern("*.fc9.*"), recipe: "recipe 'mine'")
    #expect(throws: error) {
      try QuantizationPlan(ModelIndex.swinIRLight(scale: 2), recipe: recipe)
    }
    #expect("\(error)" == "recipe 'mine': no tensor name matches '*.fc9.*'")
  }

  @Test func aRecipeThatSelectsNothingIsAnError() throws {
    var index = ModelIndex()
    try index.add("norm.weight", [60])
    let archive = index.archive
    #expect(throws: TransformError(.nothingToQuantize, recipe: "recipe 'body-linear'")) {
      try QuantizationPlan(archive, recipe: .named("body-linear"))
    }
    #expect(
      "\(TransformError(.nothingToQuantize, recipe: "recipe 'body-linear'"))" == """
        recipe 'body-linear': selects no tensor of this model; write a recipe such as \
        {"bits": 4, "rules": [{"match": "*.weight", "where": {"rank": 2}, "action": "quantize"}]}
        """)
  }

  @Test func tensorsThatCannotBeQuantizedAreRefused() throws {
    func plan(_ shape: Shape, _ elementType: ElementType, parts: Int = 1) throws {
      var index = ModelIndex()
      try index.add("a.weight", shape, elementType)
      let recipe = Recipe(
        name: "mine",
        rules: [RecipeRule(match: [try glob("*")], action: .quantize(.init(parts: parts)))])
      _ = try QuantizationPlan(index.archive, recipe: recipe)
    }
    func error(_ reason: String) -> TransformError {
      TransformError(
        .cannotQuantize(reason: reason), recipe: "recipe 'mine'", tensor: "a.weight")
    }
    try plan([2, 3], .float64)
    try plan([7], .bfloat16)
    #expect(throws: error("a scalar cannot be quantized")) { try plan(.scalar, .float32) }
    #expect(throws: error("float8_e5m2 elements cannot be quantized")) {
      try plan([2, 3], .float8E5M2)
    }
    #expect(throws: error("expected rows that divide into 3 parts, found 4 rows")) {
      try plan([4, 3], .float32, parts: 3)
    }
    #expect(
      throws: error("expected a matrix of at least one element and below 2^63, found 1 rows of 0")
    ) { try plan([0, 3], .float32) }
    // A buffer is never quantized, so nothing is left.
    #expect(throws: TransformError(.nothingToQuantize, recipe: "recipe 'mine'")) {
      try plan([2, 3], .int64)
    }
  }

  @Test func sharedTensorsAreTreatedAlikeAndCountedOnce() throws {
    let storage = TensorStorage(SharedBytes([UInt8](repeating: 0, count: 4 * 32 * 32)))
    let tied = try Tensor(
      elementType: .float32, shape: [32, 32], storage: storage, elementOffset: 0,
      strides: [32, 1])
    let transposed = try Tensor(
      elementType: .float32, shape: [32, 32], storage: storage, elementOffset: 0,
      strides: [1, 32])
    var archive = TensorArchive()
    archive.tensors["a.weight"] = tied
    archive.tensors["b.weight"] = tied
    archive.tensors["c.weight"] = transposed
    let plan = try plan(archive, "all-linear", bits: 4)
    #expect(plan.entries["b.weight"]?.sharedWith == "a.weight")
    #expect(plan.entries["b.weight"]?.quantization == plan.entries["a.weight"]?.quantization)
    #expect(plan.entries["c.weight"]?.sharedWith == nil)
    #expect(plan.quantizedNames == ["a.weight", "c.weight"])
    #expect(plan.parameterCount == 2 * 32 * 32)
    #expect(plan.ratios.parameters == 8)

    archive.tensors["lm_head.weight"] = tied
    let body = try self.plan(archive, "body-linear")
    #expect(body.quantizedNames == ["c.weight"])
    #expect(body.entries["a.weight"]?.quantization == nil)
  }
}
