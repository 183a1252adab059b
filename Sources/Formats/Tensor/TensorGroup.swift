import Storage

/// Stored tensors of a model file that belong together, and the result of assembling them.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("fp8.safetensors").assembled()
/// for group in archive.groups { print(group.name, group.parts, group.obstacle ?? group.rule) }
/// // l.weight ["l.weight", "l.weight_scale_inv"] float8_e4m3fn codes times scales, …
/// ```
public struct TensorGroup: Codable, Hashable, Sendable {
  /// The kind of a group.
  public enum Kind: String, Codable, CaseIterable, Sendable {
    /// 8-bit codes and their scales.
    case scaledCodes = "scaled-codes"
    /// 8-bit floating-point codes without a scale.
    case plainCodes = "plain-codes"
    /// A direction and a length, as PyTorch's `weight_norm` stores a weight.
    case weightNorm = "weight-norm"
    /// A weight and the singular vectors by which PyTorch's `spectral_norm` scales it.
    case spectralNorm = "spectral-norm"
    /// Another parametrization of PyTorch, or a pruned weight and its mask.
    case parametrization
    /// Codes, zero points and scales of GPTQ.
    case gptq
    /// Codes, zero points and scales of AWQ.
    case awq
    /// Codes, scales and biases of MLX.
    case mlx
    /// 4-bit or 8-bit codes of bitsandbytes.
    case bitsandbytes
    /// 4-bit floating-point codes with 8-bit scales: NVFP4 and MXFP4.
    case microscaling
    /// Packed integers of compressed-tensors.
    case compressedTensors = "compressed-tensors"
    /// Codes of HQQ, quanto, torchao and other programs.
    case otherCodes = "other-codes"
    /// Factors of a difference to the weights of another model: LoRA, LoHa, LoKr and the like.
    case lowRank = "low-rank"

    /// Whether the stored elements are codes, whose singular values mean nothing.
    var isOfCodes: Bool {
      switch self {
      case .plainCodes, .weightNorm, .spectralNorm, .parametrization, .lowRank: false
      default: true
      }
    }
  }

  /// The name of the tensor that the group stands for.
  public var name: String
  /// The kind of the group.
  public var kind: Kind
  /// The names of the stored tensors, the main one first.
  public var parts: [String]
  /// How elements are computed from the parts, or what the parts are, as a lower-case phrase.
  public var rule: String
  /// An assumption, or something left unchanged, as a lower-case sentence without a full stop;
  /// `nil` if there is none.
  public var remark: String?
  /// The reason why the parts stay as stored, with a way out if there is one, as a lower-case
  /// sentence without a full stop; `nil` if they were assembled or are plain codes.
  public var obstacle: String?

  /// Whether the archive holds one tensor in place of the parts.
  public var isAssembled: Bool { obstacle == nil && kind != .plainCodes }
}

extension [TensorGroup] {
  /// The number of sentences beyond which groups are only counted.
  private static let sentenceLimit = 12

  /// One sentence per kind and outcome of groups, without a full stop.
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

  /// The reasons why figures about a stored tensor are impossible, by its name: codes that could
  /// not be assembled.
  package var codeObstacles: [String: String] {
    reduce(into: [:]) { obstacles, group in
      guard let obstacle = group.obstacle, group.kind.isOfCodes else { return }
      for part in group.parts { obstacles[part] = "\(group.rule): \(obstacle)" }
    }
  }

  /// Descriptions of tensors, by name: the parts of assembled ones, or the group that they belong
  /// to.
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
