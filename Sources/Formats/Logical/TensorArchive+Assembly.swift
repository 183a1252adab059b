import OrderedCollections
import Storage

extension TensorArchive {
  /// Returns the archive with stored tensors that belong together replaced by one tensor each.
  ///
  /// 8-bit codes are multiplied by their scales, weight-norm and spectral-norm parametrizations are
  /// computed, and the codes of GPTQ, AWQ, MLX, bitsandbytes and others are dequantized. Elements
  /// are computed on request, in Float32 unless another type holds them exactly. Tensors that are
  /// recognized but cannot be assembled stay as they are; `groups` lists both.
  ///
  /// ```swift
  /// let archive = try FormatRegistry.standard.open("gptq/model.safetensors").assembled()
  /// let weights = try archive.tensors["model.layers.0.mlp.down_proj.weight"]?.floatValues()
  /// ```
  ///
  /// - Parameter configuration: the `config.json` or `quantize_config.json`; `nil` to use the one
  ///   beside the archive's file, if any.
  public func assembled(configuration: JSONValue? = nil) -> TensorArchive {
    guard groups.isEmpty else { return self }
    let assembly = TensorAssembly(
      self,
      configuration.map { QuantizationConfiguration($0) }
        ?? QuantizationConfiguration(beside: self))
    assembly.find()
    return assembly.archive
  }
}

extension QuantizationConfiguration {
  /// Returns a remark on a method that the configuration names but no tensor uses.
  ///
  /// - Returns: a lower-case sentence without a full stop, or `nil` if there is nothing to remark.
  fileprivate func remark(on groups: [TensorGroup]) -> String? {
    let known = ["gptq", "awq", "fp8", "fbgemm_fp8", "bitsandbytes", "compressed-tensors", "mxfp4"]
    guard let method, known.contains(method),
      !groups.contains(where: { $0.kind.isOfCodes || $0.kind == .plainCodes })
    else { return nil }
    return
      "the configuration beside it has the 'quant_method' '\(method)', but no tensor is stored "
      + "that way"
  }
}

extension TensorArchive {
  /// The quantization settings in the configuration beside the archive's file; `nil` if there are
  /// none.
  package var codeConfiguration: JSONValue? { QuantizationConfiguration(beside: self).json }
}

/// Finds stored tensors that belong together, one kind after another.
final class TensorAssembly {
  let stored: TensorArchive
  let configuration: QuantizationConfiguration
  /// The tensors that belong to a group found so far.
  private(set) var claimed: Set<String> = []
  private var found: [(group: TensorGroup, tensor: Tensor?)] = []

  init(_ stored: TensorArchive, _ configuration: QuantizationConfiguration) {
    self.stored = stored
    self.configuration = configuration
  }

  /// Finds all groups; formats with more specific names come first.
  func find() {
    findGPTQAndAWQ()
    findMLX()
    findBitsAndBytes()
    findMicroscaling()
    findCompressedTensors()
    findOtherCodes()
    findScaledCodes()
    findParametrizations()
    findLowRankFactors()
  }

  // MARK: Stored tensors

  /// Returns the tensor `name`, unless it already belongs to a group.
  func tensor(_ name: String) -> Tensor? {
    claimed.contains(name) ? nil : stored.tensors[name]
  }

  /// Returns the names that end with `suffix`, each with the part before it, in the file's order.
  func names(ending suffix: String) -> [(name: String, stem: String)] {
    stored.tensors.keys.compactMap { name in
      guard name.hasSuffix(suffix), !claimed.contains(name) else { return nil }
      return (name, String(name.dropLast(suffix.count)))
    }
  }

  // MARK: Groups

  /// Adds a group whose tensor `make` plans; an error that it throws becomes the group's obstacle.
  ///
  /// - Parameters:
  ///   - rule: the group's description if it cannot be assembled.
  ///   - make: checks shapes and types, reads no more than it must, and returns the tensor.
  func add(
    _ name: String, _ kind: TensorGroup.Kind, _ parts: [String], rule: String,
    _ make: () throws -> Assembled
  ) {
    var group = TensorGroup(name: name, kind: kind, parts: parts, rule: rule)
    var tensor: Tensor?
    do {
      if stored.tensors[name] != nil, !parts.contains(name) {
        throw ModelError.unsupported("the file has a tensor '\(name)' as well")
      }
      let made = try make()
      tensor = made.tensor
      group.rule = made.rule
      group.remark = made.remark
    } catch let error as ModelError {
      group.obstacle = error.tensor == name ? "\(error.problem)" : "\(error)"
    } catch {
      group.obstacle = "\(error)"
    }
    add(group, tensor)
  }

  /// Adds a group that is not assembled.
  func add(
    _ name: String, _ kind: TensorGroup.Kind, _ parts: [String], rule: String, obstacle: String?
  ) {
    add(TensorGroup(name: name, kind: kind, parts: parts, rule: rule, obstacle: obstacle), nil)
  }

  private func add(_ group: TensorGroup, _ tensor: Tensor?) {
    claimed.formUnion(group.parts)
    found.append((group, tensor))
  }

  /// The tensor that a group is assembled into.
  struct Assembled {
    var tensor: Tensor
    var rule: String
    var remark: String?
  }

  /// The stored archive with the assembled tensors, each in the place of the first of its parts.
  var archive: TensorArchive {
    var archive = stored
    var logical: [String: (name: String, tensor: Tensor)] = [:]
    var dropped: Set<String> = []
    for (group, tensor) in found {
      guard let tensor else { continue }
      dropped.formUnion(group.parts)
      let first = group.parts.min { place(of: $0) < place(of: $1) }
      if let first { logical[first] = (group.name, tensor) }
      archive.storedByteCounts[group.name] = group.parts.reduce(0) {
        $0 + (stored.tensors[$1]?.byteCount ?? 0)
      }
    }
    archive.groups = found.map(\.group)
    if let remark = configuration.remark(on: archive.groups) { archive.notes.append(remark) }
    return archive.replacing(dropped, by: logical)
  }

  private func place(of name: String) -> Int { stored.tensors.index(forKey: name) ?? .max }
}

extension TensorArchive {
  /// Returns the archive with tensors in place of others.
  ///
  /// - Parameters:
  ///   - parts: the names of the tensors that are replaced.
  ///   - made: the tensors that take their places, by the name of the first part of each.
  fileprivate func replacing(
    _ parts: Set<String>, by made: [String: (name: String, tensor: Tensor)]
  ) -> TensorArchive {
    guard !parts.isEmpty else { return self }
    var archive = self
    archive.tensors = [:]
    for (name, tensor) in tensors {
      if let made = made[name] { archive.tensors[made.name] = made.tensor }
      if !parts.contains(name) { archive.tensors[name] = tensor }
    }
    for name in parts { archive.fileOfTensor[name] = nil }
    for (part, made) in made { archive.fileOfTensor[made.name] = fileOfTensor[part] }
    archive.structure = structure?.replacingLeaves(made.mapValues(\.name), dropping: parts)
    return archive
  }

  /// Returns the stored archive with the tensors of some groups assembled.
  ///
  /// - Parameter assembled: what `assembled()` returns of the archive.
  func taking(_ taken: [TensorGroup], from assembled: TensorArchive) -> TensorArchive {
    var made: [String: (name: String, tensor: Tensor)] = [:]
    for group in taken {
      let places = group.parts.compactMap { tensors.index(forKey: $0) }
      if let first = places.min(), let tensor = assembled.tensors[group.name] {
        made[tensors.keys[first]] = (group.name, tensor)
      }
    }
    var archive = replacing(Set(taken.flatMap(\.parts)), by: made)
    archive.groups = assembled.groups
    archive.storedByteCounts = assembled.storedByteCounts
    return archive
  }
}

extension ArchiveStructure {
  /// Returns the structure with some leaves replaced by others in the same container, and some
  /// dropped.
  ///
  /// - Parameter names: the new names by the leaves' current names.
  fileprivate func replacingLeaves(
    _ names: [String: String], dropping dropped: Set<String>, in container: String = ""
  ) -> ArchiveStructure? {
    func items(_ items: [ArchiveStructure]) -> [ArchiveStructure] {
      items.enumerated().compactMap { index, item in
        item.replacingLeaves(
          names, dropping: dropped, in: Self.join(container, "\(index)"))
      }
    }
    switch self {
    case .leaf(let name):
      if let new = names[name] { return .leaf(new) }
      return dropped.contains(name) ? nil : self
    case .unread: return self
    case .dictionary(let entries, let isOrdered):
      return .dictionary(
        entries.compactMap { entry in
          let path = Self.join(container, Self.component(of: entry.key))
          if case .leaf(let name) = entry.value, let new = names[name] {
            let key = container.isEmpty ? new : String(new.dropFirst(container.count + 1))
            return Entry(key: .text(key), value: .leaf(new))
          }
          return entry.value.replacingLeaves(names, dropping: dropped, in: path)
            .map { Entry(key: entry.key, value: $0) }
        }, isOrdered: isOrdered)
    case .list(let list): return .list(items(list))
    case .tuple(let list): return .tuple(items(list))
    case .set(let list): return .set(items(list))
    }
  }
}

extension Tensor {
  /// Creates a Float32 tensor whose elements are computed on request.
  init(shape: Shape, computing values: @escaping @Sendable () throws -> [Float]) throws {
    try self.init(elementType: .float32, shape: shape) { SharedBytes(elementsOf: try values()) }
  }

  /// Returns a tensor of values rounded to `elementType`: float16, bfloat16 or float32.
  static func rounded(
    to elementType: ElementType, shape: Shape,
    _ values: @escaping @Sendable () throws -> [Float]
  ) throws -> Tensor {
    try Tensor(elementType: elementType, shape: shape) {
      SharedBytes(try values(), roundedTo: elementType)
    }
  }

  /// Returns the members of the JSON object in a tensor of bytes.
  ///
  /// - Throws: `ModelError` when the bytes are not a JSON object, or are very many.
  func jsonMembers() throws -> OrderedDictionary<String, JSONValue> {
    guard elementType == .uint8, byteCount <= 1 << 16,
      case .object(let members)? = try? JSONDocument.parse(bytes())
    else { throw ModelError.malformed("it is not a JSON object") }
    return members
  }
}
