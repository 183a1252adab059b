import Storage

/// Stored tensors of a model file that belong together, and what became of them.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("fp8.safetensors").assembled()
/// for group in archive.groups { print(group.name, group.parts, group.obstacle ?? group.rule) }
/// // l.weight ["l.weight", "l.weight_scale_inv"] float8_e4m3fn codes times scales, …
/// ```
public struct TensorGroup: Codable, Hashable, Sendable {
  /// What belongs together.
  public enum Kind: String, Codable, CaseIterable, Sendable {
    /// Codes of 8 bits and their scales.
    case scaledCodes = "scaled-codes"
    /// Codes of 8-bit floating point without a scale.
    case plainCodes = "plain-codes"
    /// A direction and a length, as PyTorch's `weight_norm` keeps a weight.
    case weightNorm = "weight-norm"
    /// A weight and the singular vectors by which PyTorch's `spectral_norm` scales it.
    case spectralNorm = "spectral-norm"
    /// Another parametrization of PyTorch, or a weight and the mask of what was pruned.
    case parametrization
    /// Codes, zero points and scales of GPTQ.
    case gptq
    /// Codes, zero points and scales of AWQ.
    case awq
    /// Codes, scales and biases of MLX.
    case mlx
    /// Codes of 4 or 8 bits of bitsandbytes.
    case bitsandbytes
    /// Codes of 4-bit floating point with scales of 8 bits: NVFP4 and MXFP4.
    case microscaling
    /// Packed integers of compressed-tensors.
    case compressedTensors = "compressed-tensors"
    /// Codes of HQQ, quanto, torchao and other programs.
    case otherCodes = "other-codes"
    /// Factors of a difference to the weights of another model: LoRA, LoHa, LoKr and the like.
    case lowRank = "low-rank"

    /// Whether the stored elements are codes, of which singular values say nothing.
    var isOfCodes: Bool {
      switch self {
      case .plainCodes, .weightNorm, .spectralNorm, .parametrization, .lowRank: false
      default: true
      }
    }
  }

  /// The name of the tensor that the group stands for.
  public var name: String
  /// What belongs together.
  public var kind: Kind
  /// The names of the stored tensors, the main one first.
  public var parts: [String]
  /// How elements are made of the parts, or what the parts are: a lower-case phrase.
  public var rule: String
  /// What was assumed or left as it is: a lower-case sentence without an end; `nil` for nothing.
  public var remark: String?
  /// Why the parts stay as they are stored, and the way out where there is one: a lower-case sentence
  /// without an end; `nil` where they were put together.
  public var obstacle: String?

  /// Whether the archive holds one tensor in place of the parts.
  public var isAssembled: Bool { obstacle == nil && kind != .plainCodes }
}

extension [TensorGroup] {
  /// Sentences beyond this many are only counted.
  private static let sentenceLimit = 12

  /// Groups of the same kind and fate in one sentence each, without an end.
  package var sentences: [String] {
    var names: [TensorGroup: [String]] = [:]
    var order: [TensorGroup] = []
    for group in self {
      var key = group
      key.name = ""
      key.parts = []
      if names[key] == nil { order.append(key) }
      names[key, default: []].append(group.name)
    }
    let sentences = order.prefix(Self.sentenceLimit).map { $0.sentence(names[$0] ?? []) }
    let others = order.count - sentences.count
    return sentences
      + (others > 0 ? ["\(counted(others, "other kind")) of tensors that belong together"] : [])
  }

  /// What stands in the way of figures about a stored tensor, by name: codes that were not put
  /// together.
  package var codeObstacles: [String: String] {
    reduce(into: [:]) { obstacles, group in
      guard let obstacle = group.obstacle, group.kind.isOfCodes else { return }
      for part in group.parts { obstacles[part] = "\(group.rule): \(obstacle)" }
    }
  }

  /// What the tensors of the archive are made of or belong to, by name.
  package var descriptions: [String: String] {
    reduce(into: [:]) { descriptions, group in
      if group.isAssembled {
        descriptions[group.name] = group.text
      } else if !group.kind.isOfCodes {
        for part in group.parts { descriptions[part] = group.text }
      }
    }
  }
}

extension TensorGroup {
  /// The rule with the remark and the obstacle.
  fileprivate var text: String {
    [rule, obstacle, remark].compactMap { $0 }.joined(separator: "; ")
  }

  fileprivate func sentence(_ names: [String]) -> String {
    let others = names.count - 1
    let list = "'\(names.first ?? "")'" + (others > 0 ? " and \(counted(others, "other"))" : "")
    if isAssembled { return "put together \(list): \(text)" }
    return kind == .plainCodes || kind == .lowRank
      ? "\(list): \(text)" : "not put together: \(list): \(text)"
  }
}
