import Formats

/// A tensor by the names it has: its own, and the one that both files' names are compared by.
struct NamedTensor: Sendable {
  /// As the file has it.
  let original: String
  /// After the name map.
  let name: String
  let tensor: Tensor

  var side: TensorDifference.Side {
    TensorDifference.Side(
      elementType: tensor.unreadableType ?? tensor.elementType.rawValue,
      shape: tensor.shape.dimensions)
  }
}

/// Two tensors to compare.
struct TensorPair: Sendable {
  let a: NamedTensor
  let b: NamedTensor

  /// What loading both takes.
  var byteCount: Int { a.tensor.byteCount + b.tensor.byteCount }
}
