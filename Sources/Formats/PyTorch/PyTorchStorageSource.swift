import Storage

/// The source of the storages that a checkpoint's pickle refers to.
protocol PyTorchStorageSource {
  /// Returns the storage named `key`, which must have exactly `byteCount` bytes.
  ///
  /// - Parameter elementType: determines the units that are swapped in a big-endian file.
  /// - Throws: `ModelError` when there is no such storage, or it has another length.
  mutating func storage(
    _ key: String, byteCount: Int, elementType: ElementType
  ) throws -> TensorStorage

  /// Returns the object that a bare number stands for as a persistent identifier.
  func object(numbered number: Int) -> PyTorchNumberedObject?
}

/// An object that the tar form of a checkpoint stores, by number, beside its pickle.
enum PyTorchNumberedObject: Sendable {
  case tensor(Tensor)
  case storage(TensorStorage, ElementType)
}

extension PyTorchStorageSource {
  func object(numbered number: Int) -> PyTorchNumberedObject? { nil }
}

extension PyTorchRecords: PyTorchStorageSource {}

/// The empty set of storages of a bare pickle.
struct PyTorchNoStorages: PyTorchStorageSource {
  func storage(_ key: String, byteCount: Int, elementType: ElementType) throws -> TensorStorage {
    throw ModelError.malformed("the storage '\(key)' is not in the file: it is a bare pickle")
  }
}

/// The lazy operations on a tensor's numbers that PyTorch applies on use: conjugation and negation.
///
/// Views such as `z.conj()` and `z.conj().imag` only set these bits, and a checkpoint keeps them in
/// the tensor's metadata (`torch/_utils.py`, `set_tensor_metadata`).
struct LazyTensorBits: Hashable {
  var isConjugated = false
  var isNegated = false

  /// Returns the tensor with the operations applied as its numbers are read.
  ///
  /// - Throws: `ModelError` for element types whose sign is not a single bit.
  func resolved(_ tensor: Tensor) throws -> Tensor {
    guard self != LazyTensorBits() else { return tensor }
    let type = tensor.elementType
    guard isConjugated ? type.isComplex : type.isComplex || type.hasSignBit else {
      throw ModelError.unsupported(
        "\(isConjugated ? "conjugated" : "negated") tensors of \(type) are not supported")
    }
    let width = type.byteSwapWidth
    // Conjugation changes the sign of every second number, negation the sign of all.
    let flips = type.isComplex ? [isNegated, isNegated != isConjugated] : [isNegated, isNegated]
    return try Tensor(elementType: type, shape: tensor.shape) {
      let bytes = try tensor.bytes()
      return SharedBytes(count: bytes.count) { output in
        bytes.withUnsafeBytes { output.copy($0) }
        for (number, end) in stride(from: width - 1, to: output.count, by: width).enumerated()
        where flips[number % 2] {
          output[end] ^= 0x80
        }
      }
    }
  }
}

extension ElementType {
  /// Whether this is a real type of whole bytes whose highest bit is the sign and nothing else.
  fileprivate var hasSignBit: Bool {
    switch self {
    case .float16, .bfloat16, .float32, .float64, .float8E4M3FN, .float8E5M2: true
    default: false
    }
  }
}
