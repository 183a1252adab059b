/// Tensors that are several arrays: sparse, quantized and nested ones, read as a dictionary of their parts.
extension PyTorchObjectReader {
  /// The parts of the sparse, quantized or nested tensor that a call would rebuild, also as a parameter;
  /// `nil` when the call makes something else.
  mutating func components(
    of object: PickleGraph.Object, named name: String
  ) throws -> ArchiveStructure? {
    let object = try data(of: object)
    switch try callee(of: object) {
    case "torch._utils._rebuild_sparse_tensor":
      try requirePlain(object)
      return try sparse(try arguments(of: object), named: name)
    case "torch._utils._rebuild_qtensor":
      try requirePlain(object)
      return try quantized(try arguments(of: object), named: name)
    case "torch._utils._rebuild_nested_tensor":
      try requirePlain(object)
      return try nested(try arguments(of: object), named: name)
    default: return nil
    }
  }

  /// The tensor that a parameter is made of; any other object itself.
  private func data(of object: PickleGraph.Object) throws -> PickleGraph.Object {
    var object = object
    for _ in 0..<8 {
      switch try callee(of: object) {
      case "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state",
        "torch.nn.parameter.Parameter":
        guard let data = try arguments(of: object).first, case .object(let inner) = node(data)
        else { return object }
        object = inner
      default: return object
      }
    }
    return object
  }

  /// The parts of a subclass that wraps other tensors, such as a DTensor; `nil` for all else.
  ///
  /// What such a tensor is, only its class's code can say. A DTensor of one process is an exception:
  /// its local tensor is the whole.
  mutating func wrapper(
    _ object: PickleGraph.Object, _ reference: PickleGraph.Reference, named name: String
  ) throws -> ArchiveStructure? {
    let object = try data(of: object)
    let arguments = try arguments(of: object)
    guard try callee(of: object) == "torch._tensor._rebuild_from_type_v2", arguments.count == 4,
      case .global("torch._utils._rebuild_wrapper_subclass") = node(arguments[0]),
      case .global(let type) = node(arguments[1]), let description = sequence(arguments[2]),
      description.count >= 3
    else { return nil }
    let shape = try integers(description[2], "shape")
    var parts = Parts(className: type, arguments: [], elements: [], items: [])
    addState(arguments[3], to: &parts)
    var attributes: [PickleGraph.Item] = []
    for item in parts.attributes where holdsTensors(below: item.value) { attributes.append(item) }
    let isDistributed = type.split(separator: ".").last == "DTensor"
    if isDistributed, let local = attributes.first(where: { isText($0.key, "_local_tensor") }) {
      if try isWhole(local.value, of: shape, parts.attributes) {
        notes.add("DTensors whose local part is the whole tensor are read as plain tensors")
        return try structure(of: local.value, named: name)
      }
      attributes = [local]
    }
    let place = name.isEmpty ? "tensor" : name
    let kept = try attributes.map { attribute in
      "'\(place).\(ArchiveStructure.component(of: try key(of: attribute.key)))'"
    }
    let entries = try entries(of: attributes, named: place)
    let whole =
      isDistributed
      ? "the file has only one process's part of this tensor \(shape); save its full_tensor(), or "
        + "gather the state dict first"
      : "only its class's own code can put the tensor together; save its dequantize() or "
        + "full_tensor()"
    _ = leaveOut(
      reference, named: name,
      because: kept.isEmpty ? whole : "\(whole); parts are kept as \(kept.joined(separator: ", "))")
    return .dictionary(entries, isOrdered: false)
  }

  private func isText(_ reference: PickleGraph.Reference, _ text: String) -> Bool {
    if case .text(text) = node(reference) { true } else { false }
  }

  /// Whether the local part of a DTensor has its shape, and is no summand of it.
  private mutating func isWhole(
    _ local: PickleGraph.Reference, of shape: [Int], _ attributes: [PickleGraph.Item]
  ) throws -> Bool {
    guard case .object(let object) = node(local), let tensor = try? tensor(of: object),
      tensor.shape.dimensions == shape,
      let specification = attributes.first(where: { isText($0.key, "_spec") }),
      case .object(let record) = node(specification.value)
    else {
      forgetAttachments()
      return false
    }
    forgetAttachments()
    var parts = Parts(className: "", arguments: [], elements: [], items: [])
    if let state = record.state { addState(state, to: &parts) }
    // The part of a sum of several processes has the sum's shape.
    guard let placements = parts.attributes.first(where: { isText($0.key, "placements") }),
      let items = sequence(placements.value)
    else { return false }
    return items.allSatisfy { item in
      ["Shard", "_StridedShard", "Replicate"].contains(
        kind(of: item).split(separator: ".").last.map(String.init) ?? "")
    }
  }

  private mutating func sparse(
    _ arguments: [PickleGraph.Reference], named name: String
  ) throws -> ArchiveStructure {
    guard arguments.count == 2, let parts = sequence(arguments[1]),
      case .text(let layout)? = try value(ofLeaf: arguments[0])
    else { throw FormatError.unsupported("a sparse tensor is pickled in an unknown way") }
    let keys: [String]
    switch (layout, parts.count) {
    case ("torch.sparse_coo", 3): keys = ["indices", "values", "size"]
    case ("torch.sparse_coo", 4): keys = ["indices", "values", "size", "is_coalesced"]
    case ("torch.sparse_csr", 4), ("torch.sparse_bsr", 4):
      keys = ["crow_indices", "col_indices", "values", "size"]
    case ("torch.sparse_csc", 4), ("torch.sparse_bsc", 4):
      keys = ["ccol_indices", "row_indices", "values", "size"]
    default:
      throw FormatError.unsupported("sparse tensors of the layout '\(layout)' are not supported")
    }
    notes.add("sparse tensors are read as their indices and values")
    var entries: [ArchiveStructure.Entry] = []
    for (key, part) in zip(keys, parts) { entries.append(try entry(key, part, in: name)) }
    entries.append(try entry("layout", arguments[0], in: name))
    return .dictionary(entries, isOrdered: false)
  }

  private mutating func quantized(
    _ arguments: [PickleGraph.Reference], named name: String
  ) throws -> ArchiveStructure {
    guard arguments.count == 7, let parameters = sequence(arguments[4]),
      let first = parameters.first, case .global(let scheme) = node(first)
    else { throw FormatError.unsupported("a quantized tensor is pickled in an unknown way") }
    let keys: [String]
    switch (scheme, parameters.count) {
    case ("torch.per_tensor_affine", 3): keys = ["scale", "zero_point"]
    case ("torch.per_channel_affine", 4), ("torch.per_channel_affine_float_qparams", 4):
      keys = ["scales", "zero_points", "axis"]
    default:
      throw FormatError.unsupported("the quantization scheme '\(scheme)' is not supported")
    }
    notes.add("quantized tensors are read as their integers, scales and zero points")
    let integers = try stridedTensor(arguments, dtype: nil, isQuantized: true)
    let integersName = ArchiveStructure.join(name, "int_repr")
    var entries = [
      ArchiveStructure.Entry(
        key: .text("int_repr"), value: try leaf(integers, named: integersName))
    ]
    for (key, part) in zip(keys, parameters.dropFirst()) {
      entries.append(try entry(key, part, in: name))
    }
    entries.append(try entry("qscheme", first, in: name))
    return .dictionary(entries, isOrdered: false)
  }

  private mutating func nested(
    _ arguments: [PickleGraph.Reference], named name: String
  ) throws -> ArchiveStructure {
    guard arguments.count == 4 else {
      throw FormatError.unsupported("a nested tensor is pickled in an unknown way")
    }
    notes.add("nested tensors are read as their buffer, sizes, strides and offsets")
    var entries: [ArchiveStructure.Entry] = []
    for (key, part) in zip(["buffer", "sizes", "strides", "storage_offsets"], arguments) {
      entries.append(try entry(key, part, in: name))
    }
    return .dictionary(entries, isOrdered: false)
  }
}
