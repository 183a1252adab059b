/// How a tensor that both archives name differs.
public struct TensorDifference: Codable, Hashable, Sendable {
  /// What differs; the first that applies.
  public enum Kind: String, Codable, Sendable {
    /// The shapes, so that no numbers are compared.
    case shape
    /// The element types; `numbers` says whether the values do, too.
    case elementType
    /// The values alone.
    case values
  }

  /// A tensor's type and shape on one side.
  public struct Side: Codable, Hashable, Sendable {
    /// As `ElementType.rawValue`.
    public var elementType: String
    public var shape: [Int]
  }

  public var name: String
  public var kind: Kind
  public var a: Side
  public var b: Side
  /// `nil` when the shapes differ or the elements are not numbers.
  public var numbers: NumberComparison?
  public var note: String?
}

/// A tensor that only one archive names.
public struct UnmatchedTensor: Codable, Hashable, Sendable {
  public var name: String
  /// As `ElementType.rawValue`.
  public var elementType: String
  public var shape: [Int]
}

/// A tensor that each archive names otherwise, with equal type, shape and bytes.
public struct RenamedTensor: Codable, Hashable, Sendable {
  public var nameA: String
  public var nameB: String
  /// As `ElementType.rawValue`.
  public var elementType: String
  public var shape: [Int]
}

/// A value or a metadata text that differs; `nil` where one side has none.
public struct ValueDifference: Codable, Hashable, Sendable {
  public var name: String
  public var a: String?
  public var b: String?
}
