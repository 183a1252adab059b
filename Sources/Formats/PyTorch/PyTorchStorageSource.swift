/// Where the storages lie that a checkpoint's pickle refers to.
protocol PyTorchStorageSource {
  /// The storage named `key`, which must have exactly `byteCount` bytes.
  ///
  /// - Parameter elementType: decides what is swapped in a big-endian file.
  /// - Throws: `FormatError` when there is none, or it has another length.
  mutating func storage(
    _ key: String, byteCount: Int, elementType: ElementType
  ) throws -> TensorStorage

  /// What a bare number stands for as a persistent identifier.
  func object(numbered number: Int) -> PyTorchNumberedObject?
}

/// What the tar form of a checkpoint keeps beside its pickle, by number.
enum PyTorchNumberedObject: Sendable {
  case tensor(Tensor)
  case storage(TensorStorage, ElementType)
}

extension PyTorchStorageSource {
  func object(numbered number: Int) -> PyTorchNumberedObject? { nil }
}

extension PyTorchRecords: PyTorchStorageSource {}

/// The storages of a pickle that is in no checkpoint: there are none.
struct PyTorchNoStorages: PyTorchStorageSource {
  func storage(_ key: String, byteCount: Int, elementType: ElementType) throws -> TensorStorage {
    throw FormatError.malformed("the storage '\(key)' is not in the file: it is a bare pickle")
  }
}
