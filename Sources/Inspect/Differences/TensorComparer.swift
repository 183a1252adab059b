import Formats

/// Compares two tensors piece by piece, so that memory does not grow with them.
struct TensorComparer: Sendable {
  /// Absolute differences up to this many are none.
  let tolerance: Double
  /// Whether an element type of its own makes a tensor differ.
  let ignoresElementTypes: Bool

  /// Elements of a piece: a multiple of 4, so that pieces of 6-bit elements are whole bytes.
  private static let pieceLength = 1 << 16

  /// - Returns: `nil` when the tensors are the same: equal shapes, equal element types unless these
  ///   are ignored, and no number that differs by more than the tolerance.
  /// - Throws: `FormatError` when a tensor cannot be read.
  func difference(name: String, _ a: Tensor, _ b: Tensor) throws -> TensorDifference? {
    guard a.shape == b.shape else { return Self.difference(name, .shape, a, b) }
    let (bytesA, bytesB) = try locatingErrors(tensor: name) { (try a.bytes(), try b.bytes()) }
    let hasEqualTypes = a.elementType == b.elementType
    if hasEqualTypes && bytesA.elementsEqual(bytesB) { return nil }

    var difference = Self.difference(name, hasEqualTypes ? .values : .elementType, a, b)
    guard let typeA = a.elementType.componentType, let typeB = b.elementType.componentType,
      a.elementType.isComplex == b.elementType.isComplex
    else {
      difference.note =
        hasEqualTypes
        ? Self.byteNote(bytesA, bytesB)
        : "\(a.elementType) and \(b.elementType) cannot be compared as numbers"
      return difference
    }
    let count = a.shape.elementCount * (a.elementType.isComplex ? 2 : 1)
    let numbers = try locatingErrors(tensor: name) {
      try compare((bytesA, typeA), (bytesB, typeB), count: count)
    }
    let isTypeChange = !hasEqualTypes && !ignoresElementTypes
    guard isTypeChange || numbers.changedElementCount > 0 else { return nil }
    if numbers.changedElementCount > 0, ignoresElementTypes { difference.kind = .values }
    difference.numbers = numbers
    difference.note = Self.note(on: numbers, of: a.elementType)
    return difference
  }

  private func compare(
    _ a: (bytes: SharedBytes, type: ElementType), _ b: (bytes: SharedBytes, type: ElementType),
    count: Int
  ) throws -> NumberComparison {
    var sum = NumberComparisonSum(tolerance: tolerance)
    for start in stride(from: 0, to: count, by: Self.pieceLength) {
      let range = start..<min(start + Self.pieceLength, count)
      let pieceA = try Self.piece(range, of: a.bytes, a.type)
      let pieceB = try Self.piece(range, of: b.bytes, b.type)
      sum.add(
        try pieceA.doubleValues(), try pieceB.doubleValues(),
        differences: try Self.exactDifferences(pieceA, pieceB))
    }
    return sum.comparison
  }

  /// The elements of `range` as a vector. The last piece of a type narrower than a byte ends with
  /// the tensor, which fills whole bytes.
  private static func piece(_ range: Range<Int>, of bytes: SharedBytes, _ type: ElementType) throws
    -> Tensor
  {
    let start = range.lowerBound * type.bitWidth / 8
    let end = range.upperBound * type.bitWidth / 8
    guard let shape = Shape([range.count]) else {
      throw FormatError.malformed("a range of \(range.count) elements")
    }
    return try Tensor(elementType: type, shape: shape, bytes: bytes.slice(start..<end))
  }

  /// b − a of 64-bit integers, which doubles hold only up to 2^53; `nil` for all other types.
  private static func exactDifferences(_ a: Tensor, _ b: Tensor) throws -> [Double]? {
    guard a.elementType.isInteger, b.elementType.isInteger,
      max(a.elementType.bitWidth, b.elementType.bitWidth) == 64
    else { return nil }
    return zip(try integers(of: a), try integers(of: b)).map { Double($1 - $0) }
  }

  private static func integers(of tensor: Tensor) throws -> [Int128] {
    guard tensor.elementType.bitWidth == 64 else {
      return try tensor.doubleValues().map { Int128($0) }
    }
    let isSigned = tensor.elementType == .int64
    return try tensor.bytes().withUnsafeBytes { bytes in
      (0..<tensor.shape.elementCount).map { index in
        isSigned
          ? Int128(bytes.loadUnaligned(fromByteOffset: index * 8, as: Int64.self))
          : Int128(bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self))
      }
    }
  }

  private static func difference(
    _ name: String, _ kind: TensorDifference.Kind, _ a: Tensor, _ b: Tensor
  ) -> TensorDifference {
    TensorDifference(
      name: name, kind: kind,
      a: .init(elementType: a.elementType.rawValue, shape: a.shape.dimensions),
      b: .init(elementType: b.elementType.rawValue, shape: b.shape.dimensions))
  }

  private static func note(on numbers: NumberComparison, of type: ElementType) -> String? {
    var notes: [String] = []
    if type.isComplex { notes.append("real and imaginary parts are compared as numbers") }
    if numbers.nonFiniteDifferenceCount > 0 {
      notes.append(
        "differences with NaN or infinity, left out of the measures: "
          + "\(numbers.nonFiniteDifferenceCount)")
    }
    return notes.isEmpty ? nil : notes.joined(separator: "; ")
  }

  private static func byteNote(_ a: SharedBytes, _ b: SharedBytes) -> String {
    let count = a.withUnsafeBytes { a in
      b.withUnsafeBytes { b in a.indices.count { a[$0] != b[$0] } }
    }
    return "compared by bytes: \(count) of \(a.count) differ"
  }
}

extension ElementType {
  /// The real type whose numbers the elements consist of; `nil` for uninterpreted bits.
  fileprivate var componentType: ElementType? {
    switch self {
    case .complex32: .float16
    case .complex64: .float32
    case .complex128: .float64
    case .bits8, .bits16, .bits1x8, .bits2x4, .bits4x2: nil
    default: self
    }
  }
}
