import Formats
import Testing

@testable import Storage
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

  /// The expected ratios are those of the table in the packed format's page, to the digits that it
  /// shows.
  @Test(arguments: [(2, 3.600, 3.301), (3, 3.313, 3.066), (4, 3.068, 2.862)])
  func ratiosMatchPapers(bits: Int, paper: Double, parameters: Double) throws {
    let plan = try plan(ModelIndex.swinIRLight(scale: 4), "body-linear", bits: bits)
    #expect(plan.quantizedNames.count == 96)
    #expect(plan.quantizedElementCount == 691_200)
    #expect(plan.parameterCount == 897_228 + 24 * 225 * 6)
    let kept = 897_228 - 691_200
    #expect(plan.ratios.paper == Double(32 * 897_228) / Double(32 * kept + bits * 691_200))
    #expect((plan.ratios.paper * 1_000).rounded() / 1_000 == paper)
    #expect((plan.ratios.parameters * 1_000).rounded() / 1_000 == parameters)
  }

  @Test func plannedSizesAreExact() throws {
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
    // Codes, (3 + 1 + 1 + 1) quantizers per block, and every other parameter in full.
    #expect(
      plan.payloadByteCount
        == 691_200 / 4 + 24 * 6 * 8 + 4 * (plan.parameterCount - 691_200))
    #expect(plan.bufferByteCount == 24 * 64 * 64 * 8 + 12 * 64 * 64 * 64 * 4)
  }

  @Test func bodyLinearSelectsLayersOfDAT() throws {
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

  @Test func builtInRecipesSelectLayersOfOtherModels() throws {
    let block = "layers.0.residual_group.blocks.0"
    let ngram = "encoder_layer1.blocks.0.ngram_window_partition.ngram_context"
    let linear = [
      "\(block).correlation.proj.weight", "\(block).mlp.fc1.weight", "\(block).mlp.fc2.weight",
      "\(ngram).ngram_attn.qkv.weight", "\(ngram).ngram_attn.proj.weight",
      "encoder_layer1.downsample.reduction.weight", "bottleneck.pointwise.weight",
    ]
    let archive = try ModelIndex.hierarchical()
    #expect(try plan(archive, "body-linear").quantizedNames == linear)
    #expect(try plan(archive, "body").quantizedNames == linear)
    let convolutions = ["\(block).correlation.qv.linear.weight", "\(ngram).merge.weight"]
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
        "model.embed_tokens.weight", "transformer.wte.weight", "transformer.wpe.weight",
        "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.in_proj_weight",
        "lm_head.weight", "head.weight",
      ])
    #expect(try plan(ModelIndex.language(), "all-linear").quantizedNames.count == 7)
  }

  /// Convolutions have bounds per channel where the first axis has the channels, unless told
  /// otherwise.
  @Test func granularityIsTheRecipesUnlessGiven() throws {
    var archive = TensorArchive()
    for (name, shape) in [
      ("a.weight", [32, 16, 3, 3]), ("b/kernel", [3, 3, 16, 32]), ("c.weight", [16, 64]),
    ] as [(String, Shape)] {
      archive.tensors[name] = try Tensor(
        elementType: .float32, shape: shape,
        bytes: SharedBytes([UInt8](repeating: 0, count: 4 * shape.elementCount)))
    }
    func granularities(_ given: QuantizationGranularity?) throws -> [String] {
      let plan = try QuantizationPlan(
        archive, recipe: Recipe.named("body-linear-and-conv", granularity: given))
      return plan.entries.values.compactMap {
        $0.quantization.map { "\($0.spec.layout.granularity)" }
      }
    }
    #expect(try granularities(nil) == ["channel", "tensor", "tensor"])
    #expect(try granularities(.tensor) == ["tensor", "tensor", "tensor"])
    #expect(try granularities(.group(16)) == ["group:16", "group:16", "group:16"])
  }

  @Test func keepAllKeepsEveryTensor() throws {
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

  @Test func granularityAndPartsDetermineLayout() throws {
    var recipe = try Recipe.named("body-linear")
    recipe.defaults.granularity = .group(32)
    recipe.defaults.parameterType = .float16
    let plan = try QuantizationPlan(ModelIndex.swinIRLight(scale: 2), recipe: recipe)
    let qkv = plan.entries["layers.0.residual_group.blocks.0.attn.qkv.weight"]?.quantization
    #expect(qkv?.layout.parts == 1)
    #expect(qkv?.layout.cellCount == 180 * 2)
    #expect(qkv?.parameterByteCount == 180 * 2 * 2 * 2)
  }

  /// Tables are read row by row, and narrow codes of a head cost much.
  @Test func tablesHaveMoreBits() throws {
    for bits in [2, 8] {
      let plan = try plan(ModelIndex.language(), "body", bits: bits)
      let tables = [
        "model.embed_tokens.weight", "transformer.wte.weight", "transformer.wpe.weight",
        "lm_head.weight", "head.weight",
      ]
      for (index, name) in tables.enumerated() {
        let spec = try #require(plan.entries[name]?.quantization?.spec)
        #expect(spec.bitWidth == max(bits, index < 3 ? 4 : 6))
        #expect(spec.layout.granularity == .group(64))
        #expect(spec.parameterType == .scaled6)
      }
      let other = plan.entries["model.layers.0.self_attn.q_proj.weight"]?.quantization?.spec
      #expect(other?.bitWidth == bits)
      #expect(other?.layout.granularity == .tensor)
      #expect(other?.parameterType == .float32)
    }
    let remark = Recipe.remark(onTables: [("head.weight", 6), ("a.weight", 6), ("wte.weight", 8)])
    #expect(
      remark == """
        Embedding tables have at least 4 bits, heads 6: 'head.weight' and 1 other; --keep PATTERN \
        keeps them in full precision.
        """)
    #expect(Recipe.remark(onTables: [("a.weight", 6)]) == nil)
  }

  @Test func calibratedMethodsKeepTables() throws {
    var recipe = Recipe.calibrated(bitWidth: 2)
    recipe.defaults.granularity = .group(32)
    let plan = try QuantizationPlan(ModelIndex.language(), recipe: recipe)
    #expect(plan.entries["lm_head.weight"]?.keptBecause == "head")
    #expect(plan.entries["transformer.wte.weight"]?.quantization == nil)
    let spec = plan.entries["model.layers.0.self_attn.q_proj.weight"]?.quantization
    #expect(spec?.spec.parameterType == .float32)
    #expect(spec?.search == .free)
  }

  @Test func groupsHaveSmallParametersUnlessToldOtherwise() throws {
    let name = "model.layers.0.self_attn.q_proj.weight"
    func quantization(
      _ granularity: QuantizationGranularity, _ type: QuantizationParameterType?,
      _ search: BoundSearchMethod = .dobi, _ method: MethodSettings = MethodSettings(.nearest)
    ) throws -> QuantizationPlan.Quantization? {
      var recipe = try Recipe.named("body")
      recipe.defaults = QuantizationSettings(
        bitWidth: 3, granularity: granularity, search: search, parameterType: type)
      recipe.method = method
      return try QuantizationPlan(ModelIndex.language(), recipe: recipe).entries[name]?.quantization
    }
    let small = try #require(try quantization(.group(32), nil))
    #expect(small.spec.parameterType == .scaled6)
    #expect(small.search == .joint)
    #expect(small.parameterByteCount == 64 * 2 + 2 * 64 * 2 * 6 / 8)
    #expect(try quantization(.group(32), .float32)?.search == .dobi)
    #expect(try quantization(.group(32), nil, .minimumMaximum)?.search == .minimumMaximum)
    #expect(try quantization(.channel, nil)?.spec.parameterType == .float32)
    #expect(try quantization(.group(32), .scaled6, .free, MethodSettings(.best))?.search == .joint)
    func message(_ body: () throws -> QuantizationPlan.Quantization?) -> String {
      let error = #expect(throws: ModelError.self) { try body() }
      return error.map { "\($0.problem)" } ?? ""
    }
    #expect(
      message { try quantization(.tensor, .scaled6) }
        == "expected groups, which parameters of type 'scaled6' are for, found tensor")
    #expect(
      message { try quantization(.channel, nil, .joint) }
        == "the search 'joint' is for groups, not for channel")
    #expect(
      message {
        try quantization(
          .group(32), .scaled6, .dobi,
          MethodSettings(.best, distillation: DistillationRecipe(limit: .steps(1))))
      } == "learning moves bounds freely, which 'scaled6' parameters cannot follow")
  }

  private func glob(_ pattern: String) throws -> NameGlob { try NameGlob(pattern) }

  @Test func unmatchedPatternsAreNamed() throws {
    let recipe = Recipe(
      name: "mine",
      rules: [
        RecipeRule(match: [try glob("*.fc1.*")], action: .keep),
        RecipeRule(match: [try glob("*.qkv.weight"), try glob("*.fc9.*")], action: .keep),
      ])
    let error = ModelError(
      "no tensor name matches '*.fc9.*'; the closest is "
        + "'layers.0.residual_group.blocks.0.mlp.fc1.weight'", path: "recipe 'mine'")
    #expect(throws: error) {
      try QuantizationPlan(ModelIndex.swinIRLight(scale: 2), recipe: recipe)
    }
    #expect("\(error)".hasPrefix("recipe 'mine': no tensor name matches '*.fc9.*'; the closest"))
  }

  /// Models of different kinds, with the tensors that the default recipe quantizes and its reasons
  /// for keeping the rest.
  private static let kinds:
    [(model: [String: [Int]], quantized: [String], kept: [String: String])] =
      [
        (
          // EDSR and the like: nothing but convolutions.
          [
            "head.0.weight": [64, 3, 3, 3], "body.0.body.0.weight": [64, 64, 3, 3],
            "body.0.body.0.bias": [64], "tail.0.0.weight": [256, 64, 3, 3],
            "tail.1.weight": [3, 64, 3, 3],
          ],
          ["body.0.body.0.weight"],
          [
            "head.0.weight": "convolution of fewer than 16 channels",
            "body.0.body.0.bias": "vector or single number",
            "tail.0.0.weight": "first, last or enlarging convolution",
            "tail.1.weight": "first, last or enlarging convolution",
          ]
        ),
        (
          // The last convolution is known by its outputs, whatever its name; 48 channels inside do
          // not count.
          [
            "a.weight": [48, 3, 3, 3], "b.weight": [48, 48, 3, 3], "c.weight": [64, 48, 3, 3],
            "d.weight": [64, 64, 1, 1], "dw.weight": [64, 1, 7, 7], "z.weight": [27, 64, 3, 3],
          ],
          ["b.weight", "c.weight", "d.weight"],
          [
            "a.weight": "convolution of fewer than 16 channels",
            "dw.weight": "convolution of fewer than 16 channels",
            "z.weight": "first, last or enlarging convolution",
          ]
        ),
        (
          // A few linear layers do not change the kind of a convolutional network.
          ["conv.weight": [64, 64, 3, 3], "se.fc1.weight": [16, 64], "fc.weight": [10, 64]],
          ["conv.weight", "se.fc1.weight"], ["fc.weight": "head"]
        ),
        (
          ["conv.weight": [64, 64, 3, 3], "mlp.weight": [640, 640]], ["mlp.weight"],
          ["conv.weight": "convolution; 'body-linear-and-conv' quantizes it"]
        ),
        (
          // TensorFlow and Flax have channels last.
          [
            "block/conv/kernel:0": [3, 3, 64, 64], "block/conv/depthwise_kernel:0": [3, 3, 64, 1],
            "stem/kernel:0": [3, 3, 3, 64], "dense/kernel:0": [64, 64],
          ],
          ["block/conv/kernel:0", "dense/kernel:0"],
          [
            "block/conv/depthwise_kernel:0": "convolution of fewer than 16 channels",
            "stem/kernel:0": "convolution of fewer than 16 channels",
          ]
        ),
        (
          // Weights are not always named `weight`.
          [
            "a.kernel": [64, 64], "a.qkv_w": [64, 64], "lstm.weight_ih_l0": [64, 32],
            "h.0.attn.c_attn.weight": [48, 144], "A_log": [64, 16], "lora_A.weight": [8, 64],
            "attn.rel_pos_w": [27, 80], "attn.cpb_mlp.2.weight": [16, 512],
          ],
          ["a.kernel", "a.qkv_w", "lstm.weight_ih_l0", "h.0.attn.c_attn.weight"],
          [
            "A_log": "not named as a weight",
            "lora_A.weight": factor,
            "attn.rel_pos_w": "position table or network",
            "attn.cpb_mlp.2.weight": "position table or network",
          ]
        ),
        (
          // Only the table itself is an embedding, not everything below a module of that name.
          [
            "conditioner.embedders.0.encoder.layers.0.q_proj.weight": [64, 64],
            "time_embed.0.weight": [64, 64], "context_embedder.weight": [64, 64],
            "blocks.0.normed_attn.to_q.weight": [64, 64], "norm1.linear.weight": [96, 16],
            "level_embed.weight": [64, 32], "level_embed.bias": [64],
            "token_embedding.weight": [320, 64], "wte.embedding": [320, 64],
            "embedding/embeddings:0": [320, 64], "pos_embed": [1, 64, 64],
            "norm2.weight": [16, 16],
          ],
          [
            "conditioner.embedders.0.encoder.layers.0.q_proj.weight", "time_embed.0.weight",
            "context_embedder.weight", "blocks.0.normed_attn.to_q.weight", "norm1.linear.weight",
            "level_embed.weight", "token_embedding.weight", "wte.embedding",
            "embedding/embeddings:0",
          ],
          [
            "pos_embed": "embedding table, read row by row",
            "level_embed.bias": "vector or single number", "norm2.weight": "normalization",
          ]
        ),
        (
          [
            "l.mlp.experts.gate_up_proj": [4, 64, 128], "l.mlp.experts.down_proj": [4, 64, 64],
            "l.moe.input_linear.weight": [8, 32, 64], "l.mlp.experts.gate_up_proj_bias": [4, 128],
          ],
          [
            "l.mlp.experts.gate_up_proj", "l.mlp.experts.down_proj", "l.moe.input_linear.weight",
          ],
          ["l.mlp.experts.gate_up_proj_bias": "not named as a weight"]
        ),
        (
          [
            "a.weight_g": [64, 1, 1, 1], "a.weight_v": [64, 64, 3, 3],
            "b.parametrizations.weight.original1": [64, 64], "c.weight": [64, 64, 3, 3],
          ],
          ["c.weight"],
          [
            "a.weight_g": "half of a weight-norm pair", "a.weight_v": "half of a weight-norm pair",
            "b.parametrizations.weight.original1": "half of a weight-norm pair",
          ]
        ),
        // RRDBNet by its older names.
        (
          [
            "RRDB_trunk.0.RDB1.conv1.weight": [32, 64, 3, 3], "upconv1.weight": [64, 64, 3, 3],
            "HRconv.weight": [64, 64, 3, 3],
          ],
          ["RRDB_trunk.0.RDB1.conv1.weight"],
          [
            "upconv1.weight": "first, last or enlarging convolution",
            "HRconv.weight": "first, last or enlarging convolution",
          ]
        ),
        // Queries, keys and values of 64 channels are as many as the pixels of an ×8 network.
        (
          [
            "a.qkv.weight": [192, 64, 1, 1], "b.qkv.weight": [192, 64, 1, 1],
            "pixels.weight": [192, 64, 3, 3],
          ],
          ["a.qkv.weight", "b.qkv.weight"],
          ["pixels.weight": "first, last or enlarging convolution"]
        ),
      ]

  @Test(arguments: kinds.indices)
  func defaultRecipeQuantizesBody(kind: Int) throws {
    let (model, quantized, kept) = Self.kinds[kind]
    var index = ModelIndex()
    // No decision depends on the order of the file.
    for (name, shape) in model { try index.add(name, try #require(Shape(shape))) }
    let plan = try plan(index.archive, Recipe.builtInNames[0])
    #expect(Set(plan.quantizedNames) == Set(quantized))
    let reasons = Dictionary(uniqueKeysWithValues: plan.keptTensors.map { ($0.name, $0.reason) })
    #expect(reasons == kept)
    #expect(plan.quantizedNames.allSatisfy { plan.entries[$0]?.role == .weight })
  }

  @Test func stackedExpertsHaveTheirOwnBounds() throws {
    var index = ModelIndex()
    try index.add("l.mlp.experts.down_proj", [4, 64, 128])
    let layout = try plan(index.archive, "body").entries.values.first?.quantization?.layout
    #expect(layout?.parts == 4)
    #expect(layout?.cellCount == 4)
  }

  @Test func keptTensorsAreListedWithTheirShares() throws {
    let storage = TensorStorage(SharedBytes([UInt8](repeating: 0, count: 4 * 32 * 32)))
    let tied = try Tensor(
      elementType: .float32, shape: [32, 32], storage: storage, elementOffset: 0,
      strides: [32, 1])
    var index = ModelIndex()
    try index.add("codes.weight", [32, 32], .float8E4M3FN)
    try index.add("mask", [64], .int64)
    try index.add("attn_mask", [4096])
    try index.add("l.weight", [32, 32])
    var archive = index.archive
    archive.tensors["a.weight"] = tied
    archive.tensors["lm_head.weight"] = tied
    let whole = try plan(archive, "body", bits: 2)
    #expect(whole.entries["a.weight"]?.quantization?.bitWidth == 6, "it is a head as well")
    var recipe = try Recipe.named("body")
    recipe.rules.insert(
      RecipeRule(match: [try glob("lm_head.*")], action: .keep, reason: "--keep 'lm_head.*'"),
      at: 0)
    let plan = try QuantizationPlan(archive, recipe: recipe)
    let total = Double(1024 + 512 + 4096 + 4096)
    #expect(
      plan.keptTensors == [
        KeptTensor(
          name: "codes.weight", elementType: "float8_e4m3fn", shape: [32, 32], byteCount: 1024,
          share: 1024 / total, reason: "elements of fewer than 16 bits"),
        KeptTensor(
          name: "mask", elementType: "int64", shape: [64], byteCount: 512, share: 512 / total,
          reason: "int64 elements"),
        KeptTensor(
          name: "attn_mask", elementType: "float32", shape: [4096], byteCount: 16384, share: nil,
          reason: "buffer"),
        KeptTensor(
          name: "a.weight", elementType: "float32", shape: [32, 32], byteCount: 4096,
          share: 4096 / total, reason: "--keep 'lm_head.*' (as 'lm_head.weight')"),
      ])
    #expect(
      KeptTensor.remark(on: plan.keptTensors) == """
        kept in full precision: 57.9 % of the bytes, in 3 tensors: 42.1 % --keep 'lm_head.*' \
        (as 'lm_head.weight'); 10.5 % elements of fewer than 16 bits; 5.3 % int64 elements
        """)
    // A share of at most a tenth is not worth a line.
    #expect(KeptTensor.remark(on: Array(plan.keptTensors[1...2])) == nil)
  }

  @Test(
    arguments: [
      (
        ["norm.weight": [60]],
        """
        ('norm.weight': vector or single number); write a recipe such as \
        {"bits":3,"rules":[{"match":"*.weight","action":"quantize"}]}
        """
      ),
      (
        ["a.weight_g": [64, 1], "a.weight_v": [64, 64]],
        """
        ('a.weight_v' and 1 other: half of a weight-norm pair); write a recipe such as \
        {"bits":3,"rules":[{"match":"*.weight_v","action":"quantize"}]}
        """
      ),
      (
        ["lora_A.weight": [8, 64]],
        "('lora_A.weight': \(factor))"
      ),
      (
        // A pattern that also matches a scalar would be refused.
        ["a.x[0]": [8, 64], "b.x[0]": []],
        """
        ('a.x[0]': not named as a weight; 'b.x[0]': vector or single number); write a recipe such as \
        {"bits":3,"rules":[{"match":"a.x\\\\[0\\\\]","action":"quantize"}]}
        """
      ),
      (["a": []], "('a': vector or single number)"),
    ] as [([String: [Int]], String)])
  func emptySelectionErrorGivesWorkingAdvice(model: [String: [Int]], message: String)
    throws
  {
    var index = ModelIndex()
    for (name, shape) in model.sorted(by: { $0.key > $1.key }) {
      try index.add(name, try #require(Shape(shape)))
    }
    let archive = index.archive
    let error = #expect(throws: ModelError.self) { try plan(archive, "body", bits: 3) }
    let text = "\(try #require(error))"
    #expect(text == "recipe 'body': selects no tensor of this model \(message)")
    // Following the advice works.
    if let name = text.firstMatch(of: /the recipe '(.*)' selects 1/)?.1 {
      #expect(try plan(archive, String(name)).quantizedNames.count == 1)
    }
    if let start = text.range(of: #"{"bits""#) {
      let json = try JSONDocument.parse(SharedBytes(text[start.lowerBound...].utf8))
      let plan = try QuantizationPlan(archive, recipe: Recipe(json))
      #expect(plan.quantizedNames.count >= 1)
      #expect(plan.recipe.defaults.bitWidth == 3)
    }
  }

  @Test func unquantizableTensorsAreRefused() throws {
    func plan(_ shape: Shape, _ elementType: ElementType, parts: Int = 1) throws {
      var index = ModelIndex()
      try index.add("a.weight", shape, elementType)
      let recipe = Recipe(
        name: "mine",
        rules: [RecipeRule(match: [try glob("*")], action: .quantize(.init(parts: .count(parts))))])
      _ = try QuantizationPlan(index.archive, recipe: recipe)
    }
    func error(_ reason: String) -> ModelError {
      ModelError(reason, path: "recipe 'mine'", tensor: "a.weight")
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
      throws: error(
        "expected a matrix of at least one element and fewer than 2^63, found 1 rows of 0")
    ) { try plan([0, 3], .float32) }
    // A buffer is never quantized, so nothing is left.
    #expect(
      throws: ModelError(
        "selects no tensor of this model ('a.weight': int64 elements)", path: "recipe 'mine'")
    ) { try plan([2, 3], .int64) }
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
    #expect(body.quantizedNames == ["a.weight", "c.weight"])
    #expect(body.entries["a.weight"]?.quantization?.bitWidth == 6, "it is a head as well")
    var calibrated = try Recipe.named("body-linear")
    calibrated.method = MethodSettings(.best)
    let kept = try QuantizationPlan(archive, recipe: calibrated)
    #expect(kept.quantizedNames == ["c.weight"])
    #expect(kept.entries["a.weight"]?.quantization == nil)
  }

  /// Weights of equal values, so that a budget alone would give all of them the same bits.
  @Test func budgetsLeaveTablesTheirLeastBits() throws {
    let values = (0..<64 * 64).map { Float($0 * 7919 % 4093) - 2046 }
    var archive = TensorArchive()
    for name in [
      "embed_tokens.weight", "layers.0.up.weight", "layers.1.up.weight", "lm_head.weight",
    ] {
      archive.tensors[name] = try Tensor(
        elementType: .float32, shape: [64, 64],
        bytes: values.withUnsafeBytes { SharedBytes(Array($0)) })
    }
    func plan(_ budget: SizeBudget) throws -> QuantizationPlan {
      var recipe = try Recipe.named("body")
      recipe.budget = budget
      return try CompressionPlan(
        archive, recipe: recipe, calibration: nil, source: nil, threads: 1
      ).plan
    }
    for budget in [SizeBudget.bitsPerWeight(4), .ratio(8), .byteCount(10_000)] {
      let planned = try plan(budget)
      let bits = planned.quantizedNames.map { planned.entries[$0]?.quantization?.bitWidth ?? 0 }
      #expect(bits.count == 4 && bits[0] >= 4 && bits[3] >= 6, "\(budget): \(bits)")
      #expect(bits.min() ?? 8 < 4, "\(budget): \(bits)")
    }
    #expect(
      throws: ModelError(
        "at most 3.0 bits per weight cannot be reached even at 2 bits (tables have at least 4, such "
          + "as 'embed_tokens.weight'; 'leastBits' in a recipe file sets this)",
        path: "recipe 'body'")
    ) { try plan(.bitsPerWeight(3)) }
  }
}

private let factor =
  "factor of an adapter: a difference to another model's weights; merge it into them first"
