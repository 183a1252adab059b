/// Tensors that are several arrays: sparse, quantized and nested ones, read as a dictionary of their parts.
extension PyTorchObjectReader {
  /// The parts of the sparse, quantized or nested tensor that a call would rebuild, also as a parameter;
  /// `nil` when the call makes something else.
  mutating func components(
    of object: PickleGraph.Object, named name: String
  ) throws -> ArchiveStructure? {
    var object = object
    for _ in 0..<8 {
      let callee = try callee(of: object)
      switch callee {
      case "torch._utils._rebuild_sparse_tensor":
        try requirePlain(object)
        return try sparse(try arguments(of: object), named: name)
      case "torch._utils._rebuild_qtensor":
        try requirePlain(object)
        return try quantized(try arguments(of: object), named: name)
      case "torch._utils._rebuild_nested_tensor":
        try requirePlain(object)
        return try nested(try arguments(of: object), named: name)
      case "torch._utils._rebuild_parameter", "torch.nn.parameter.Parameter":
        guard let data = try arguments(of: object).first, case .object(let inner) = node(data)
        else { return nil }
        object = inner
      default: return nil
      }
    }
    return nil
  }

  private mutating func sparse(
    _ arguments: [PickleGraph.Reference], named name: String
  ) throws -> ArchiveStructure {
    guard arguments.count == 2, let parts = sequence(arguments[1]),
      case .text(let layout)? = try value(ofLeaf: arguments[0])
    else { throw FormatError.malformed("a sparse tensor is pickled in an unknown way") }
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
    else { throw FormatError.malformed("a quantized tensor is pickled in an unknown way") }
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
      throw FormatError.malformed("a nested tensor is pickled in an unknown way")
    }
    notes.add("nested tensors are read as their buffer, sizes, strides and offsets")
    var entries: [ArchiveStructure.Entry] = []
    for (key, part) in zip(["buffer", "sizes", "strides", "storage_offsets"], arguments) {
      entries.append(try entry(key, part, in: name))
    }
    return .dictionary(entries, isOrdered: false)
  }
}
