import Formats

/// Finds query-key-value tensors that are fused in one file and split in the other.
struct FusedWeights {
  /// Names of attention layers that fuse three projections along the output axis, and names of the
  /// separate projections. They are the last parts of a name before `weight` or `bias`.
  private static let fusedNames = [
    "qkv", "qkv_proj", "to_qkv", "Wqkv", "in_proj", "query_key_value",
  ]
  private static let splitNames = [
    ["q", "k", "v"], ["q_proj", "k_proj", "v_proj"], ["to_q", "to_k", "to_v"],
    ["wq", "wk", "wv"], ["Wq", "Wk", "Wv"], ["query", "key", "value"],
  ]
  private static let labels = ["q", "k", "v"]

  /// A fused tensor and its three counterparts, in row order.
  struct Match: Sendable {
    let fused: NamedTensor
    let split: [NamedTensor]

    /// Returns the rows of the fused tensor that correspond to each counterpart.
    func parts() throws -> [NamedTensor] {
      var start = 0
      return try zip(split, FusedWeights.labels).map { counterpart, label in
        let byteCount = counterpart.tensor.byteCount
        let range = start..<start + byteCount
        start += byteCount
        let whole = fused.tensor
        return NamedTensor(
          original: "\(fused.original)[\(label)]", name: counterpart.name,
          tensor: try Tensor(
            elementType: whole.elementType, shape: counterpart.tensor.shape
          ) { try whole.bytes().slice(range) })
      }
    }
  }

  /// Finds all matches.
  ///
  /// - Parameters:
  ///   - fused: The tensors of one file that the other lacks.
  ///   - split: The tensors of the other file that the first lacks.
  static func matches(_ fused: [NamedTensor], _ split: [NamedTensor]) -> [Match] {
    var counterparts: [String: NamedTensor] = [:]
    for tensor in split { counterparts[tensor.name] = tensor }
    return fused.compactMap { tensor in
      for names in candidates(for: tensor.name) {
        let found = names.compactMap { counterparts[$0] }
        guard found.count == labels.count, fits(tensor.tensor, found.map(\.tensor)) else {
          continue
        }
        for name in names { counterparts[name] = nil }
        return Match(fused: tensor, split: found)
      }
      return nil
    }
  }

  /// Returns possible names of the three parts of a fused tensor.
  private static func candidates(for name: String) -> [[String]] {
    let components = name.split(separator: ".", omittingEmptySubsequences: false)
    guard let last = components.last else { return [] }
    // PyTorch's own attention joins the two with an underscore: `in_proj_weight`.
    for (suffix, separator) in [("weight", "."), ("bias", "."), ("weight", "_"), ("bias", "_")] {
      let parent: [Substring]
      let own: String
      if separator == "." {
        guard last == suffix, components.count >= 2 else { continue }
        parent = Array(components.dropLast(2))
        own = String(components[components.count - 2])
      } else {
        guard last.hasSuffix("_\(suffix)") else { continue }
        parent = Array(components.dropLast())
        own = String(last.dropLast(suffix.count + 1))
      }
      guard fusedNames.contains(own) else { continue }
      let prefix = parent.map { "\($0)." }.joined()
      return splitNames.flatMap { names in
        [".", "_"].map { joint in names.map { "\(prefix)\($0)\(joint)\(suffix)" } }
      }
    }
    return []
  }

  /// Whether the stacked rows of the parts have the type and shape of the fused tensor.
  private static func fits(_ fused: Tensor, _ parts: [Tensor]) -> Bool {
    let dimensions = fused.shape.dimensions
    guard let rows = dimensions.first, fused.elementType.byteWidth != nil else { return false }
    return parts.allSatisfy {
      $0.elementType == fused.elementType && $0.shape.rank == dimensions.count
        && $0.shape.dimensions.dropFirst().elementsEqual(dimensions.dropFirst())
    } && parts.reduce(0) { $0 + ($1.shape.dimensions.first ?? 0) } == rows
  }
}
