/// What PyTorch still has to do to a tensor's numbers when they are used: conjugate or negate them.
///
/// Views such as `z.conj()` and `z.conj().imag` only set these bits, and a checkpoint keeps them in
/// the metadata of the tensor (`torch/_utils.py`, `set_tensor_metadata`).
struct LazyTensorBits: Hashable {
  var isConjugated = false
  var isNegated = false

  /// The tensor with its numbers changed as they are read.
  ///
  /// - Throws: `FormatError` for element types whose sign is not one bit.
  func resolved(_ tensor: Tensor) throws -> Tensor {
    guard self != LazyTensorBits() else { return tensor }
    let type = tensor.elementType
    guard isConjugated ? type.isComplex : type.isComplex || type.hasSignBit else {
      throw FormatError.unsupported(
        "\(isConjugated ? "conjugated" : "negated") tensors of \(type) are not supported")
    }
    let width = type.byteSwapWidth
    // Conjugation changes the sign of each second number, negation that of each.
    let flips = type.isComplex ? [isNegated, isNegated != isConjugated] : [isNegated, isNegated]
    return try Tensor(elementType: type, shape: tensor.shape) {
      let bytes = try tensor.bytes()
      return SharedBytes(count: bytes.count) { output in
        bytes.withUnsafeBytes { output.copyMemory(from: $0) }
        for (number, end) in stride(from: width - 1, to: output.count, by: width).enumerated()
        where flips[number % 2] {
          output[end] ^= 0x80
        }
      }
    }
  }
}

extension ElementType {
  /// A real type of whole bytes whose highest bit is the sign and nothing else.
  fileprivate var hasSignBit: Bool {
    switch self {
    case .float16, .bfloat16, .float32, .float64, .float8E4M3FN, .float8E5M2: true
    default: false
    }
  }
}
