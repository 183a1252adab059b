import OrderedCollections

/// Adapters: factors whose product is added to the weights of another model.
extension TensorAssembly {
  /// The name components of each adapter family.
  private static let families: [(name: String, parts: Set<String>, prefixes: [String])] = [
    (
      "LoRA factors",
      [
        "lora_A", "lora_B", "lora_up", "lora_down", "lora_mid", "lora_embedding_A",
        "lora_embedding_B", "lora_magnitude_vector", "lora_bias", "dora_scale",
      ], []
    ),
    ("LoHa factors", [], ["hada_w", "hada_t"]),
    ("LoKr factors", [], ["lokr_w", "lokr_t"]),
    ("factors of an orthogonal adapter", [], ["oft_", "boft_"]),
    ("vector of an IA³ adapter", ["ia3_l"], []),
  ]

  func findLowRankFactors() {
    var groups: OrderedDictionary<String, (family: String, parts: [String])> = [:]
    for name in stored.tensors.keys where !claimed.contains(name) {
      guard let (base, family) = Self.factor(name) else { continue }
      groups[base, default: (family, [])].parts.append(name)
    }
    for (base, group) in groups {
      let beside = ["alpha", "lora_alpha", "rank_num", "dora_scale"].map { "\(base).\($0)" }
        .filter { stored.tensors[$0] != nil && !group.parts.contains($0) }
      add(
        base, .lowRank, group.parts + beside, rule: group.family,
        obstacle: "differences to another model's weights; merge them into it first")
    }
  }

  /// Returns the module that a factor is for, and the factor's family; `nil` for other tensors.
  private static func factor(_ name: String) -> (base: String, family: String)? {
    let components = name.split(separator: ".", omittingEmptySubsequences: false)
    func base(_ end: Int) -> String { components[..<end].joined(separator: ".") }
    for (index, component) in components.enumerated() {
      let text = String(component)
      if let family = families.first(where: { family in
        family.parts.contains(text) || family.prefixes.contains { text.hasPrefix($0) }
      }) {
        return (base(index), family.name)
      }
      // diffusers: `to_q_lora.up.weight`, `processor.to_q.lora.down.weight`.
      if text == "lora" || text.hasSuffix("_lora"), index + 1 < components.count,
        components[index + 1] == "up" || components[index + 1] == "down"
      {
        return (text == "lora" ? base(index) : base(index + 1), families[0].name)
      }
    }
    return nil
  }
}
