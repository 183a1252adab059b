import Formats

/// Names, types and shapes of published models, as archives whose elements cannot be read.
struct ModelIndex {
  private(set) var archive = TensorArchive()

  private struct Unreadable: Error {}

  mutating func add(_ name: String, _ shape: Shape, _ elementType: ElementType = .float32) throws {
    archive.tensors[name] = try Tensor(elementType: elementType, shape: shape) {
      throw Unreadable()
    }
  }

  /// Adds a weight and its bias.
  private mutating func add(layer name: String, _ weight: Shape) throws {
    try add("\(name).weight", weight)
    try add("\(name).bias", [weight.dimensions[0]])
  }

  /// Returns SwinIR-light: width 60, 4 groups of 6 blocks, 6 heads, window 8, `pixelshuffledirect`.
  static func swinIRLight(scale: Int) throws -> TensorArchive {
    var index = ModelIndex()
    try index.add(layer: "conv_first", [60, 3, 3, 3])
    try index.add(layer: "patch_embed.norm", [60])
    for layer in 0..<4 {
      for block in 0..<6 {
        let name = "layers.\(layer).residual_group.blocks.\(block)"
        if block % 2 == 1 { try index.add("\(name).attn_mask", [64, 64, 64]) }
        try index.add(layer: "\(name).norm1", [60])
        try index.add("\(name).attn.relative_position_bias_table", [225, 6])
        try index.add("\(name).attn.relative_position_index", [64, 64], .int64)
        try index.add(layer: "\(name).attn.qkv", [180, 60])
        try index.add(layer: "\(name).attn.proj", [60, 60])
        try index.add(layer: "\(name).norm2", [60])
        try index.add(layer: "\(name).mlp.fc1", [120, 60])
        try index.add(layer: "\(name).mlp.fc2", [60, 120])
      }
      try index.add(layer: "layers.\(layer).conv", [60, 60, 3, 3])
    }
    try index.add(layer: "norm", [60])
    try index.add(layer: "conv_after_body", [60, 60, 3, 3])
    guard let outputs = Shape([3 * scale * scale, 60, 3, 3]) else { throw Unreadable() }
    try index.add(layer: "upsample.0", outputs)
    return index.archive
  }

  /// Returns blocks of DAT-light with spatial attention, and the layers around them.
  static func datLight(blocks: Int) throws -> TensorArchive {
    var index = ModelIndex()
    try index.add(layer: "conv_first", [60, 3, 3, 3])
    for block in 0..<blocks {
      let name = "layers.0.blocks.\(block)"
      try index.add(layer: "\(name).attn.qkv", [180, 60])
      try index.add(layer: "\(name).attn.proj", [60, 60])
      try index.add("\(name).attn.attns.0.rpe_biases", [945, 2])
      try index.add("\(name).attn.attns.0.relative_position_index", [256, 256], .int64)
      try index.add(layer: "\(name).attn.attns.0.pos.pos_proj", [1, 2])
      try index.add(layer: "\(name).attn.attns.0.pos.pos1.2", [1, 1])
      try index.add(layer: "\(name).attn.attns.0.pos.pos3.2", [3, 1])
      try index.add(layer: "\(name).attn.dwconv.0", [60, 1, 3, 3])
      try index.add("\(name).attn.dwconv.1.running_mean", [60])
      try index.add("\(name).attn.dwconv.1.num_batches_tracked", .scalar, .int64)
      try index.add(layer: "\(name).attn.channel_interaction.1", [7, 60, 1, 1])
      try index.add("\(name).attn.temperature", [6, 1, 1])
      try index.add("\(name).attn.attn_mask_0", [16, 256, 256])
      try index.add(layer: "\(name).ffn.fc1", [120, 60])
      try index.add(layer: "\(name).ffn.sg.conv", [60, 1, 3, 3])
      try index.add(layer: "\(name).ffn.fc2", [60, 60])
    }
    try index.add(layer: "conv_after_body.0", [15, 60, 3, 3])
    try index.add(layer: "upsample.0", [12, 60, 3, 3])
    return index.archive
  }

  /// Returns one block of HiT-SRF, one of NGswin, and the layers around those.
  static func hierarchical() throws -> TensorArchive {
    var index = ModelIndex()
    let block = "layers.0.residual_group.blocks.0"
    try index.add(layer: "\(block).correlation.qv.linear", [60, 60, 1, 1])
    try index.add(layer: "\(block).correlation.proj", [60, 60])
    try index.add(layer: "\(block).correlation.spatial_linear", [1, 64])
    try index.add(layer: "\(block).correlation.pos.pos3.2", [6, 3])
    try index.add(layer: "\(block).mlp.fc1", [120, 60])
    try index.add(layer: "\(block).mlp.dwconv.depthwise_conv.0", [120, 1, 5, 5])
    try index.add(layer: "\(block).mlp.fc2", [60, 120])
    let ngram = "encoder_layer1.blocks.0.ngram_window_partition.ngram_context"
    try index.add(layer: "\(ngram).unigram_embed", [32, 2, 8, 8])
    try index.add("\(ngram).ngram_attn.logit_scale", [6, 1, 1])
    try index.add("\(ngram).ngram_attn.relative_position_bias_table", [9, 6])
    try index.add(layer: "\(ngram).ngram_attn.qkv", [90, 32])
    try index.add(layer: "\(ngram).ngram_attn.proj", [32, 30])
    try index.add(layer: "\(ngram).merge", [64, 64, 1, 1])
    try index.add("encoder_layer1.downsample.reduction.weight", [64, 256])
    try index.add(layer: "bottleneck.pointwise", [64, 84])
    try index.add(layer: "to_target.before_shuffle", [12, 64, 3, 3])
    return index.archive
  }

  /// Returns the embeddings, heads and a few layers of small language models of two kinds.
  static func language() throws -> TensorArchive {
    var index = ModelIndex()
    try index.add("model.embed_tokens.weight", [320, 64])
    try index.add("transformer.wte.weight", [320, 64])
    try index.add("transformer.wpe.weight", [64, 64])
    try index.add("model.layers.0.self_attn.q_proj.weight", [64, 64], .bfloat16)
    try index.add("model.layers.0.self_attn.in_proj_weight", [192, 64], .float16)
    try index.add("model.layers.0.input_layernorm.weight", [64])
    try index.add("lm_head.weight", [320, 64])
    try index.add("head.weight", [100, 64])
    return index.archive
  }
}
