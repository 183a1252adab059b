import Formats
import LinearAlgebra
import Storage

/// Compares two tensors piece by piece, in memory bounded by their bytes.
struct TensorComparer: Sendable {
  /// The largest absolute difference that is ignored.
  let tolerance: Double
  /// Whether a different element type is ignored.
  let ignoresElementTypes: Bool
  /// Whether NaN differs from NaN.
  let distinguishesNaN: Bool
  let includesConditionNumbers: Bool
  /// The number of threads for the pieces of one tensor.
  let threads: Int

  enum Outcome: Sendable {
    /// Equal shapes, equal element types unless these are ignored, and no numbers that differ by
    /// more than the tolerance.
    case same
    /// Equal after exchanging rows and columns of B.
    case transposed
    case different(TensorDifference)
  }

  /// Compares a pair of tensors.
  ///
  /// - Throws: `ModelError` if a tensor cannot be read.
  func compare(_ pair: TensorPair) throws -> Outcome {
    let (a, b) = (pair.a.tensor, pair.b.tensor)
    guard a.unreadableType == nil, b.unreadableType == nil else { return try compareStored(pair) }
    guard a.shape == b.shape else { return try compareShapes(pair) }
    let bytesA = try locatingErrors(tensor: pair.a.original) { try a.bytes() }
    let bytesB = try locatingErrors(tensor: pair.b.original) { try b.bytes() }
    let hasEqualTypes = a.elementType == b.elementType
    if hasEqualTypes, try isEqual(bytesA, bytesB), !mayHoldNaN(a.elementType) { return .same }

    var difference = Self.difference(pair, hasEqualTypes ? .values : .elementType)
    guard let typeA = a.elementType.componentType, let typeB = b.elementType.componentType,
      a.elementType.isComplex == b.elementType.isComplex
    else {
      difference.note =
        hasEqualTypes
        ? Self.byteNote(bytesA, bytesB)
        : "\(a.elementType) and \(b.elementType) cannot be compared as numbers"
      return .different(difference)
    }
    let count = a.shape.elementCount * (a.elementType.isComplex ? 2 : 1)
    let numbers = try locatingErrors(tensor: pair.a.original) {
      try compare((bytesA, typeA), (bytesB, typeB), count: count)
    }
    let isTypeChange = !hasEqualTypes && !ignoresElementTypes
    guard isTypeChange || numbers.changedElementCount > 0 else { return .same }
    if hasEqualTypes, try Self.isTransposed(bytesA, bytesB, a) { return .transposed }
    if numbers.changedElementCount > 0, ignoresElementTypes { difference.kind = .values }
    difference.numbers = numbers
    difference.note = Self.note(on: numbers, of: a.elementType)
    if includesConditionNumbers { difference.conditionNumbers = try conditionNumbers(pair) }
    return .different(difference)
  }

  /// Compares tensors at least one of which cannot be decoded: equal bytes of the same type are
  /// equal, whatever they represent.
  private func compareStored(_ pair: TensorPair) throws -> Outcome {
    let (a, b) = (pair.a.tensor, pair.b.tensor)
    var difference = Self.difference(pair, a.shape == b.shape ? .elementType : .shape)
    guard a.shape == b.shape, a.unreadableType == b.unreadableType else {
      difference.note =
        "\(pair.a.side.elementType) and \(pair.b.side.elementType) cannot be compared"
      return .different(difference)
    }
    let bytesA = try locatingErrors(tensor: pair.a.original) { try a.comparableBytes() }
    let bytesB = try locatingErrors(tensor: pair.b.original) { try b.comparableBytes() }
    if try isEqual(bytesA, bytesB) { return .same }
    difference.kind = .values
    difference.note =
      "elements of type \(pair.a.side.elementType) cannot be read; their bytes differ"
    return .different(difference)
  }

  /// Compares tensors of different shapes, which may be those of a matrix and its transpose.
  private func compareShapes(_ pair: TensorPair) throws -> Outcome {
    let (a, b) = (pair.a.tensor, pair.b.tensor)
    var difference = Self.difference(pair, .shape)
    guard a.elementType == b.elementType, a.shape.elementCount == b.shape.elementCount,
      a.shape.elementCount > 0
    else { return .different(difference) }
    let bytesA = try locatingErrors(tensor: pair.a.original) { try a.bytes() }
    let bytesB = try locatingErrors(tensor: pair.b.original) { try b.bytes() }
    if a.shape.dimensions == b.shape.dimensions.reversed(),
      try Self.isTransposed(bytesA, bytesB, a)
    {
      return .transposed
    }
    if try isEqual(bytesA, bytesB) { difference.note = "the same elements in the same order" }
    return .different(difference)
  }

  /// Whether tensors with equal bytes may still differ.
  private func mayHoldNaN(_ type: ElementType) -> Bool {
    distinguishesNaN && type.componentType?.isFloatingPoint == true
  }

  private func isEqual(_ a: SharedBytes, _ b: SharedBytes) throws -> Bool {
    guard a.count == b.count else { return false }
    let length = 1 << 24
    guard a.count > length else { return a.elementsEqual(b) }
    return try parallelMap(count: (a.count - 1) / length + 1, threads: threads) { index in
      let range = index * length..<min(a.count, (index + 1) * length)
      return a.slice(range).elementsEqual(b.slice(range))
    }.allSatisfy { $0 }
  }

  /// The number of elements per piece: a multiple of 4, so that pieces of 6-bit elements are whole
  /// bytes.
  private static let pieceLength = 1 << 16

  private func compare(
    _ a: (bytes: SharedBytes, type: ElementType), _ b: (bytes: SharedBytes, type: ElementType),
    count: Int
  ) throws -> NumberComparison {
    let empty = NumberComparisonSum(
      tolerance: tolerance, distinguishesNaN: distinguishesNaN,
      unitsInLastPlace: a.type == b.type ? UnitsInLastPlace(a.type) : nil)
    let pieceCount = (count + Self.pieceLength - 1) / Self.pieceLength
    let sums = try parallelMap(count: pieceCount, threads: threads) { index in
      let start = index * Self.pieceLength
      let range = start..<min(start + Self.pieceLength, count)
      let pieceA = try Self.piece(range, of: a.bytes, a.type)
      let pieceB = try Self.piece(range, of: b.bytes, b.type)
      var sum = empty
      sum.add(
        try pieceA.doubleValues(), try pieceB.doubleValues(),
        differences: try Self.exactDifferences(pieceA, pieceB))
      return sum
    }
    return sums.reduce(into: empty) { $0.add($1) }.comparison
  }

  /// Returns the elements of `range` as a vector. The last piece of a type narrower than a byte
  /// ends with the tensor, which fills whole bytes.
  private static func piece(_ range: Range<Int>, of bytes: SharedBytes, _ type: ElementType) throws
    -> Tensor
  {
    let start = range.lowerBound * type.bitWidth / 8
    let end = range.upperBound * type.bitWidth / 8
    guard let shape = Shape([range.count]) else {
      throw ModelError.malformed("a range of \(counted(range.count, "element"))")
    }
    return try Tensor(elementType: type, shape: shape, bytes: bytes.slice(start..<end))
  }

  /// Returns b − a for 64-bit integers, which doubles represent only up to 2^53; `nil` for other
  /// types.
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
}

/// Comparisons of matrices beyond individual elements.
extension TensorComparer {
  /// Whether `b` holds the elements of the matrix `a` with rows and columns exchanged.
  ///
  /// - Parameter tensor: The tensor that `a` is the content of.
  static func isTransposed(_ a: SharedBytes, _ b: SharedBytes, _ tensor: Tensor) throws -> Bool {
    guard tensor.shape.rank == 2, tensor.elementType.byteWidth != nil, a.count == b.count else {
      return false
    }
    let (rows, columns) = (tensor.shape.dimensions[0], tensor.shape.dimensions[1])
    guard rows > 1, columns > 1 else { return false }
    // B is [columns, rows]; comparing its first row with A's first column rejects most others
    // early.
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

  /// Returns the condition numbers of a pair of floating-point matrices.
  ///
  /// - Returns: `nil` for other tensors, and if an element is not finite.
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
  /// The real type that the elements consist of; `nil` for uninterpreted bits.
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
