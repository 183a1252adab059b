import Formats

extension TensorArchive {
  /// Returns the first difference of two archives in words, or `nil` if they are the same.
  ///
  /// Tensors are loaded and compared bit by bit, as are reals, so that NaN equals NaN.
  public func firstDifference(from other: TensorArchive, ignoringOrder: Bool = false) throws
    -> String?
  {
    let names = (Array(tensors.keys), Array(other.tensors.keys))
    if ignoringOrder ? Set(names.0) != Set(names.1) : names.0 != names.1 {
      return "tensors \(names.0) and \(names.1)"
    }
    for (name, tensor) in tensors {
      guard let counterpart = other.tensors[name] else { return "no tensor '\(name)'" }
      if let difference = try tensor.firstDifference(from: counterpart) {
        return "'\(name)': \(difference)"
      }
    }
    if Array(values.keys) != Array(other.values.keys) {
      return "values \(values.keys) and \(other.values.keys)"
    }
    for (name, value) in values where !value.isIdentical(to: other.values[name]) {
      return "value '\(name)': \(value) and \(String(describing: other.values[name]))"
    }
    if metadata != other.metadata { return "metadata \(metadata) and \(other.metadata)" }
    return nil
  }
}

extension Tensor {
  /// Returns what differs between two tensors (type, shape or the first byte), or `nil` if they are
  /// the same.
  public func firstDifference(from other: Tensor) throws -> String? {
    if elementType != other.elementType { return "\(elementType) and \(other.elementType)" }
    if shape != other.shape { return "\(shape) and \(other.shape)" }
    let (left, right) = (try bytes().array, try other.bytes().array)
    guard left != right else { return nil }
    let index = zip(left, right).enumerated().first { $1.0 != $1.1 }?.offset
    return "bytes differ from byte \(index.map(String.init) ?? "the end") on"
  }
}

extension ArchiveValue {
  /// Whether the values are equal bit by bit: NaN equals NaN, and zero differs from negative zero.
  public func isIdentical(to other: ArchiveValue?) -> Bool {
    switch (self, other) {
    case (.real(let left), .real(let right)?): Self.isSame(left, right)
    case (.complex(let real, let imaginary), .complex(let otherReal, let otherImaginary)?):
      Self.isSame(real, otherReal) && Self.isSame(imaginary, otherImaginary)
    default: self == other
    }
  }

  private static func isSame(_ left: Double, _ right: Double) -> Bool {
    left.bitPattern == right.bitPattern || left.isNaN && right.isNaN
  }
}
