import Formats
import LinearAlgebra

/// What two matrices have in common, or not, beyond their elements one by one.
extension TensorComparer {
  /// Whether `b` holds the elements of the matrix `a` with rows and columns exchanged.
  ///
  /// - Parameter tensor: what `a` are the bytes of.
  static func isTransposed(_ a: SharedBytes, _ b: SharedBytes, _ tensor: Tensor) throws -> Bool {
    guard tensor.shape.rank == 2, tensor.elementType.byteWidth != nil, a.count == b.count else {
      return false
    }
    let (rows, columns) = (tensor.shape.dimensions[0], tensor.shape.dimensions[1])
    guard rows > 1, columns > 1 else { return false }
    // B is [columns, rows]; its first row is A's first column, which tells most others at once.
    let turned = try Tensor(
      elementType: tensor.elementType, shape: tensor.shape, storage: TensorStorage(b),
      elementOffset: 0, strides: [1, rows])
    guard let firstRow = Shape([1, columns]) else { return false }
    let sample = try Tensor(
      elementType: tensor.elementType, shape: firstRow, storage: TensorStorage(b),
      elementOffset: 0, strides: [1, rows])
    let sampleBytes = try sample.bytes()
    guard sampleBytes.elementsEqual(a.slice(0..<sampleBytes.count)) else { return false }
    return try turned.bytes().elementsEqual(a)
  }

  /// The condition numbers of a pair of floating-point matrices.
  ///
  /// - Returns: `nil` for other tensors, and where elements are not finite.
  func conditionNumbers(_ pair: TensorPair) throws -> TensorDifference.ConditionNumbers? {
    guard let a = try Self.conditionNumber(pair.a), let b = try Self.conditionNumber(pair.b) else {
      return nil
    }
    return TensorDifference.ConditionNumbers(a: a, b: b)
  }

  private static func conditionNumber(_ named: NamedTensor) throws -> Double? {
    let tensor = named.tensor
    guard tensor.elementType.isFloatingPoint, let (rows, columns) = tensor.shape.matrix else {
      return nil
    }
    let values = try locatingErrors(tensor: named.original) { try tensor.doubleValues() }
    guard values.allSatisfy(\.isFinite) else { return nil }
    return try Spectrum(of: Matrix(rows: rows, columns: columns, values: values)).conditionNumber
  }

  static func difference(_ pair: TensorPair, _ kind: TensorDifference.Kind) -> TensorDifference {
    TensorDifference(
      name: pair.a.original, nameB: pair.a.original == pair.b.original ? nil : pair.b.original,
      kind: kind, a: pair.a.side, b: pair.b.side)
  }

  static func note(on numbers: NumberComparison, of type: ElementType) -> String? {
    var notes: [String] = []
    if type.isComplex { notes.append("real and imaginary parts are compared as numbers") }
    if numbers.nonFiniteDifferenceCount > 0 {
      notes.append(
        "differences with NaN or infinity, left out of the measures: "
          + "\(numbers.nonFiniteDifferenceCount)")
    }
    return notes.isEmpty ? nil : notes.joined(separator: "; ")
  }

  static func byteNote(_ a: SharedBytes, _ b: SharedBytes) -> String {
    let count = a.withUnsafeBytes { a in
      b.withUnsafeBytes { b in a.indices.count { a[$0] != b[$0] } }
    }
    return "compared by bytes: \(count) of \(a.count) differ"
  }
}

extension ElementType {
  /// The real type whose numbers the elements consist of; `nil` for uninterpreted bits.
  var componentType: ElementType? {
    switch self {
    case .complex32: .float16
    case .complex64: .float32
    case .complex128: .float64
    case .bits8, .bits16, .bits1x8, .bits2x4, .bits4x2: nil
    default: self
    }
  }
}
