import FoundationEssentials
import OrderedCollections
import Storage

/// A pair of LoRA factors, which stand for a difference to a weight of another model:
/// `scale · up · down`.
package struct LowRankPair: Sendable {
  /// The module in the adapter's own naming.
  package let module: String
  /// The names of the stored tensors.
  package let parts: [String]
  /// `[rank, in]`, or `[rank, in, height, width]` of a convolution.
  package let down: Tensor
  /// `[out, rank]`, or `[out, rank, 1, 1]`.
  package let up: Tensor
  /// Whether the difference is `(up · down)ᵀ`, as for embeddings.
  package let isTransposed: Bool
  /// The factor of the product: alpha divided by the rank, or by its root.
  package let scale: Double

  /// The number of columns of `up`.
  package var rank: Int { down.shape.dimensions[0] }

  /// The shape of the difference.
  package var shape: Shape {
    let (outputs, inputs) = (up.shape.dimensions[0], Array(down.shape.dimensions.dropFirst()))
    // Both products of dimensions were checked.
    return Shape(isTransposed ? inputs + [outputs] : [outputs] + inputs) ?? .scalar
  }
}

/// The pairs of a LoRA adapter.
package struct LowRankAdapter: Sendable {
  /// In the order of the file.
  package private(set) var pairs: [LowRankPair] = []
  /// What is no pair: other adapters, DoRA's magnitudes, and tensors that are no factors.
  package private(set) var obstacles: [UnreadEntry] = []

  private enum Role: Hashable {
    case down, up, alpha, magnitude
    case other(String)
  }

  /// Finds the factors of an archive.
  ///
  /// - Parameter config: the content of PEFT's `adapter_config.json`; `nil` if there is none.
  package init(_ archive: TensorArchive, config: JSONValue? = nil) {
    let settings = AdapterSettings(config)
    var modules: OrderedDictionary<String, [Role: String]> = [:]
    for name in archive.tensors.keys {
      guard let (module, role) = Self.role(of: name) else {
        leaveOut(name, archive, "it is no factor of LoRA")
        continue
      }
      if modules[module, default: [:]].updateValue(name, forKey: role) != nil {
        leaveOut(name, archive, "another factor of '\(module)' has this role")
      }
    }
    for (module, parts) in modules {
      do {
        if let pair = try Self.pair(module, parts, archive, settings) { pairs.append(pair) }
      } catch let error as ModelError {
        leaveOut(parts.values.min() ?? module, archive, "\(error.problem)")
      } catch {
        leaveOut(parts.values.min() ?? module, archive, "\(error)")
      }
    }
  }

  private mutating func leaveOut(_ name: String, _ archive: TensorArchive, _ reason: String) {
    let tensor = archive.tensors[name]
    let kind = tensor.map { "\($0.elementType) \($0.shape)" } ?? "tensor"
    obstacles.append(UnreadEntry(name: name, kind: kind, reason: reason))
  }

  /// - Returns: `nil` for an alpha without factors.
  private static func pair(
    _ module: String, _ parts: [Role: String], _ archive: TensorArchive,
    _ settings: AdapterSettings
  ) throws -> LowRankPair? {
    if parts[.magnitude] != nil || settings.isDoRA {
      throw ModelError.unsupported("the magnitudes of DoRA are not supported")
    }
    for role in parts.keys {
      if case .other(let what) = role { throw ModelError.unsupported("\(what) are not supported") }
    }
    guard let downName = parts[.down], let upName = parts[.up],
      let down = archive.tensors[downName], let up = archive.tensors[upName]
    else {
      if parts[.down] == nil, parts[.up] == nil {
        throw ModelError.unsupported("it belongs to no factors")
      }
      throw ModelError.unsupported("the other factor is missing")
    }
    let isEmbedding = downName.contains("lora_embedding_A")
    let rank = down.shape.dimensions.first ?? 0
    let isMatrix = down.shape.rank == 2 && up.shape.rank == 2
    let isConvolution =
      down.shape.rank == 4 && up.shape.rank == 4
      && up.shape.dimensions.suffix(2).allSatisfy { $0 == 1 }
    guard isMatrix || isConvolution && !isEmbedding, rank > 0, up.shape.dimensions[1] == rank,
      down.shape.elementCount > 0, up.shape.elementCount > 0,
      Shape([up.shape.dimensions[0], down.shape.elementCount / rank]) != nil,
      QuantizedTensor.supportedElementTypes.isSuperset(of: [down.elementType, up.elementType])
    else {
      throw ModelError.unsupported(
        "factors \(down.elementType) \(down.shape) and \(up.elementType) \(up.shape) are no pair")
    }
    let alpha = try parts[.alpha].flatMap { archive.tensors[$0] }.map { tensor -> Double in
      guard tensor.shape.elementCount == 1, let alpha = try tensor.doubleValues().first,
        alpha.isFinite
      else { throw ModelError.unsupported("its alpha is not a number") }
      return alpha
    }
    return LowRankPair(
      module: module, parts: [downName, upName] + (parts[.alpha].map { [$0] } ?? []), down: down,
      up: up, isTransposed: isEmbedding || settings.isTransposed,
      scale: alpha.map { $0 / Double(rank) } ?? settings.scale(of: module, rank: rank))
  }

  /// Returns the module and the role of a tensor; `nil` if it is not one of an adapter.
  private static func role(of name: String) -> (module: String, role: Role)? {
    let components = name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    func module(_ end: Int) -> String { components[..<end].joined(separator: ".") }
    for (index, component) in components.enumerated() {
      let isBias = components.last == "bias"
      switch component {
      case "lora_A", "lora_down", "lora_embedding_A":
        return (module(index), isBias ? .other("biases of factors") : .down)
      case "lora_B", "lora_up", "lora_embedding_B":
        return (module(index), isBias ? .other("biases of factors") : .up)
      case "lora_mid": return (module(index), .other("factors in three parts"))
      case "lora_bias": return (module(index), .other("biases of factors"))
      case "lora_magnitude_vector", "dora_scale": return (module(index), .magnitude)
      case "alpha", "lora_alpha":
        if index == components.count - 1, index > 0 { return (module(index), .alpha) }
      default: break
      }
      if component == "lora" || component.hasSuffix("_lora"), index + 1 < components.count {
        let end = component == "lora" ? index : index + 1
        if components[index + 1] == "down" { return (module(end), .down) }
        if components[index + 1] == "up" { return (module(end), .up) }
      }
    }
    return nil
  }

  /// The weights of a base by the names that adapters use.
  package struct BaseNames {
    private let base: TensorArchive
    /// The weights by their modules with underscores in place of dots.
    private let flattened: [String: [String]]

    private static let prefixes = ["base_model.model.", "base_model.", "model.", "transformer."]
    private static let flatPrefixes = [
      "lora_unet_", "lora_te1_", "lora_te2_", "lora_te_", "lora_transformer_", "lora_",
    ]

    package init(_ base: TensorArchive) {
      self.base = base
      var flattened: [String: [String]] = [:]
      for name in base.tensors.keys where name.hasSuffix(".weight") {
        let module = name.dropLast(".weight".count)
        flattened[String(module).replacing(".", with: "_"), default: []].append(name)
      }
      self.flattened = flattened
    }

    /// Returns the name of the weight to which a pair belongs.
    ///
    /// Names are equal without PEFT's or Transformers' prefix, or, for kohya's names, with dots
    /// replaced by underscores.
    ///
    /// - Throws: `ModelError` that names the pair if the base has no such weight, or one of another
    ///   shape.
    package func target(of pair: LowRankPair) throws -> String {
      let candidates = OrderedSet(names(of: pair.module).filter { base.tensors[$0] != nil })
      guard let name = candidates.first, candidates.count == 1 else {
        throw ModelError.mismatch(
          expected: "a weight of the base for the factors of '\(pair.module)'",
          found: candidates.isEmpty ? "none" : candidates.elements.quotedList())
      }
      let tensor = base.tensors[name]
      guard let tensor, tensor.shape == pair.shape,
        QuantizedTensor.supportedElementTypes.contains(tensor.elementType)
      else {
        throw ModelError.mismatch(
          expected: "a weight of the shape \(pair.shape), as the factors of '\(pair.module)' have",
          found: tensor.map { "\($0.elementType) \($0.shape)" } ?? "none", tensor: name)
      }
      return name
    }

    private func names(of module: String) -> [String] {
      var modules = [module]
      for prefix in Self.prefixes {
        for known in modules where known.hasPrefix(prefix) {
          modules.append(String(known.dropFirst(prefix.count)))
        }
      }
      var names = modules.flatMap { ["\($0).weight", $0, "model.\($0).weight"] }
      for prefix in Self.flatPrefixes where module.hasPrefix(prefix) {
        names += flattened[String(module.dropFirst(prefix.count))] ?? []
      }
      return names
    }
  }
}

/// The settings of PEFT's `adapter_config.json` that determine factors' scales.
private struct AdapterSettings {
  private var alpha: Double?
  private var alphas: [String: Double] = [:]
  private var takesRoot = false
  var isDoRA = false
  var isTransposed = false

  init(_ json: JSONValue?) {
    guard case .object(let members)? = json else { return }
    alpha = members["lora_alpha"].flatMap(Self.number)
    if case .object(let pattern)? = members["alpha_pattern"] {
      for (key, value) in pattern { alphas[key] = Self.number(value) }
    }
    takesRoot = members["use_rslora"] == .boolean(true)
    isDoRA = members["use_dora"] == .boolean(true)
    isTransposed = members["fan_in_fan_out"] == .boolean(true)
  }

  private static func number(_ json: JSONValue) -> Double? {
    switch json {
    case .integer(let value): Double(value)
    case .number(let value): value
    default: nil
    }
  }

  /// Returns 1 if nothing says otherwise, as diffusers does.
  func scale(of module: String, rank: Int) -> Double {
    let own = alphas.first { module == $0.key || module.hasSuffix(".\($0.key)") }?.value
    guard let alpha = own ?? alpha else { return 1 }
    return alpha / (takesRoot ? Double(rank).squareRoot() : Double(rank))
  }
}

extension LowRankAdapter {
  /// The name of PEFT's configuration beside an adapter.
  package static let configurationName = "adapter_config.json"

  /// Finds the factors of an archive, with the configuration beside its file.
  ///
  /// - Throws: `ModelError` when there is a configuration but it is not JSON.
  package init(besideConfigurationOf archive: TensorArchive) throws {
    let folder = archive.sourceFiles.first?.folderPrefix ?? ""
    let path = folder + Self.configurationName
    let hasConfiguration =
      !archive.sourceFiles.isEmpty && FileManager.default.fileExists(atPath: path)
    self.init(
      archive, config: hasConfiguration ? try ModelImport.configuration(at: path) : nil)
  }
}
