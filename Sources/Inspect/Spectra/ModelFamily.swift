import Formats
import FoundationEssentials
import Storage

/// The family of a model that is no super-resolution network, as far as a file tells it.
///
/// The file's metadata (GGUF) says it best, then the `config.json` beside it, then the names of
/// tensors. Nothing in a configuration is an error: what is missing or of another type is left out.
struct ModelFamily: Hashable, Sendable {
  /// The family's name, such as `LlamaForCausalLM`.
  let name: String
  /// Sizes such as `32 layers`, in the order in which they are shown.
  let sizes: [String]
  /// Where that comes from.
  let source: String

  var description: String {
    ([name] + sizes).joined(separator: ", ") + " (\(source))"
  }

  init?(of archive: TensorArchive) {
    let names = Self.blockCount(archive).map { ["\(counted($0, "block"))"] } ?? []
    if case .text(let architecture)? = archive.values["general.architecture"] {
      func size(_ key: String, _ unit: String) -> String? {
        guard case .integer(let count)? = archive.values["\(architecture).\(key)"] else {
          return nil
        }
        return "\(count) \(unit)"
      }
      let sizes = [
        size("block_count", "layers"), size("embedding_length", "wide"),
        size("attention.head_count", "heads"), size("expert_count", "experts"),
      ].compactMap { $0 }
      var name = architecture
      if case .text(let title)? = archive.values["general.name"] { name += " '\(title)'" }
      self.init(name: name, sizes: sizes.isEmpty ? names : sizes, source: "by its metadata")
    } else if let family = Self.configured(archive) {
      self = family
    } else if let name = Self.named(archive) {
      self.init(name: name, sizes: names, source: "by the names of its tensors")
    } else {
      return nil
    }
  }

  private init(name: String, sizes: [String], source: String) {
    self.name = name
    self.sizes = sizes
    self.source = source
  }

  /// Reads the `config.json` of Transformers or diffusers beside the archive's file.
  private static func configured(_ archive: TensorArchive) -> ModelFamily? {
    guard let file = archive.sourceFiles.first else { return nil }
    let path = "\(file.folderPrefix)config.json"
    guard FileManager.default.fileExists(atPath: path),
      case .object(let members)? = try? ModelImport.configuration(at: path)
    else { return nil }
    func text(_ key: String) -> String? {
      if case .string(let text)? = members[key], !text.isEmpty { text } else { nil }
    }
    var name = text("_class_name") ?? text("model_type")
    if case .array(let classes)? = members["architectures"],
      case .string(let first)? = classes.first
    {
      name = first
    }
    guard let name else { return nil }
    func size(_ keys: [String], _ unit: String) -> String? {
      for key in keys {
        if case .integer(let count)? = members[key] { return "\(count) \(unit)" }
      }
      return nil
    }
    let sizes = [
      size(["num_hidden_layers", "n_layer", "num_layers"], "layers"),
      size(["hidden_size", "n_embd", "d_model"], "wide"),
      size(["num_attention_heads", "n_head", "num_heads"], "heads"),
      size(["num_local_experts", "num_experts", "n_routed_experts"], "experts"),
      size(["vocab_size"], "tokens"),
    ].compactMap { $0 }
    return ModelFamily(name: name, sizes: sizes, source: "by the config.json beside it")
  }

  /// Parts of names that no other family has; the first that all occur decides.
  private static let landmarks: [(name: String, parts: [String])] = [
    ("Mixture-of-experts decoder", ["block_sparse_moe.experts."]),
    ("Mixture-of-experts decoder", ["self_attn.q_proj.", "mlp.experts."]),
    ("CLIP", ["visual_projection.", "text_projection."]),
    ("Whisper", ["encoder_attn.q_proj.", "decoder.layers.", "encoder.conv1."]),
    ("LLaMA-like decoder", ["self_attn.q_proj.", "mlp.gate_proj.", "mlp.up_proj."]),
    ("LLaMA-like decoder", ["attention.wq.", "feed_forward.w1."]),
    ("Phi-like decoder", ["self_attn.qkv_proj.", "mlp.gate_up_proj."]),
    ("OPT-like decoder", ["self_attn.q_proj.", "decoder.layers."]),
    ("GPT-2", ["attn.c_attn.", "mlp.c_fc."]),
    ("GPT-NeoX or BLOOM", ["query_key_value.", "dense_h_to_4h."]),
    ("T5", ["SelfAttention.q.", "DenseReluDense."]),
    ("BERT-like encoder", ["attention.self.query.", "attention.output.dense."]),
    ("DistilBERT", ["attention.q_lin.", "ffn.lin1."]),
    ("Mamba", ["mixer.in_proj.", "mixer.A_log"]),
    ("FLUX-like diffusion transformer", ["double_blocks.", "single_blocks."]),
    ("Stable Diffusion checkpoint", ["model.diffusion_model.", "first_stage_model."]),
    ("Diffusion U-Net", ["down_blocks.", "up_blocks.", "mid_block.", "time_embedding."]),
    ("Image autoencoder", ["encoder.down_blocks.", "decoder.up_blocks.", "quant_conv."]),
    ("YOLO-like detector", ["model.0.conv.", ".cv1.conv.", ".cv2.conv."]),
    ("ViT", ["cls_token", "patch_embed.proj.", "blocks.0.attn.qkv."]),
    ("Swin Transformer", ["patch_embed.proj.", "relative_position_bias_table", "head."]),
    ("ResNet", ["layer1.0.conv1.", "layer4.0.conv1.", "fc."]),
    ("VGG", ["features.0.", "classifier.0.", "classifier.6."]),
  ]

  private static func named(_ archive: TensorArchive) -> String? {
    landmarks.first { _, parts in
      parts.allSatisfy { part in archive.tensors.keys.contains { $0.contains(part) } }
    }?.name
  }

  /// Returns one more than the largest number that follows a word such as `layers` in a name.
  private static func blockCount(_ archive: TensorArchive) -> Int? {
    let words: Set<Substring> = ["layers", "layer", "blocks", "block", "blk", "h"]
    var largest: Int?
    for name in archive.tensors.keys {
      let parts = name.split(separator: ".")
      for (word, number) in zip(parts, parts.dropFirst()) where words.contains(word) {
        guard let number = Int(number), (0..<100_000).contains(number) else { continue }
        largest = max(largest ?? 0, number)
        break
      }
    }
    return largest.map { $0 + 1 }
  }
}
