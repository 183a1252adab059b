import Formats
import Storage

/// How a tensor that both archives have differs.
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
    /// As `ElementType.rawValue`; the file's own name of a type that cannot be read.
    public var elementType: String
    /// Dimensions, outermost first.
    public var shape: [Int]
  }

  /// The condition numbers σ_max/σ_min of both tensors as matrices `[out, in·kh·kw]`.
  public struct ConditionNumbers: Codable, Hashable, Sendable {
    /// σ_max/σ_min of A's tensor; infinite for a rank-deficient matrix.
    public var a: Double
    /// σ_max/σ_min of B's tensor; infinite for a rank-deficient matrix.
    public var b: Double
  }

  /// The name in A; a part of a fused tensor has its label behind it, as in `qkv.weight[q]`.
  public var name: String
  /// The name in B, where it is another one.
  public var nameB: String?
  /// What differs.
  public var kind: Kind
  /// The tensor's type and shape in A.
  public var a: Side
  /// The tensor's type and shape in B.
  public var b: Side
  /// `nil` when the shapes differ or the elements are not numbers.
  public var numbers: NumberComparison?
  /// `nil` unless asked for, and for tensors that are no matrices or not finite.
  public var conditionNumbers: ConditionNumbers?
  /// What to know of the comparison, such as why there are no numbers; `nil` mostly.
  public var note: String?
}

/// A tensor that only one archive names.
public struct UnmatchedTensor: Codable, Hashable, Sendable {
  /// The name in its file.
  public var name: String
  /// As `ElementType.rawValue`.
  public var elementType: String
  /// Dimensions, outermost first.
  public var shape: [Int]
}

/// A tensor that each archive names otherwise, with equal type, shape and bytes.
public struct RenamedTensor: Codable, Hashable, Sendable {
  /// The name in A.
  public var nameA: String
  /// The name in B.
  public var nameB: String
  /// As `ElementType.rawValue`.
  public var elementType: String
  /// Dimensions, outermost first.
  public var shape: [Int]
}

/// A tensor that each archive lays out otherwise.
///
/// Whether the values of split and fused parts differ, `DiffReport.changed` says.
public struct RelaidTensor: Codable, Hashable, Sendable {
  /// What was done to get from A to B.
  public enum Change: String, Codable, Sendable {
    /// B has the same numbers with rows and columns exchanged.
    case transposed
    /// A query-key-value tensor of A is three tensors in B.
    case split
    /// The reverse of `split`.
    case fused
  }

  /// The tensors in A: one, or query, key and value.
  public var namesA: [String]
  /// The tensors in B: one, or query, key and value.
  public var namesB: [String]
  /// What was done to get from A to B.
  public var change: Change
}

/// A value or a metadata text that differs; `nil` where one side has none.
public struct ValueDifference: Codable, Hashable, Sendable {
  /// The full name of the value, or the key of the metadata.
  public var name: String
  /// The value in A as text; `nil` where A has none.
  public var a: String?
  /// The value in B as text; `nil` where B has none.
  public var b: String?
}

extension ValueDifference {
  /// Entries that differ or that only one side has, in the order of `names`.
  ///
  /// - Parameter names: of both sides; a repeated name counts where it occurs first.
  static func all<Value>(
    names: [String], a: (String) -> Value?, b: (String) -> Value?,
    isEqual: (Value, Value) -> Bool, describe: (Value) -> String
  ) -> [ValueDifference] {
    var seen: Set<String> = []
    return names.compactMap { name in
      guard seen.insert(name).inserted else { return nil }
      let (left, right) = (a(name), b(name))
      if let left, let right, isEqual(left, right) { return nil }
      return ValueDifference(name: name, a: left.map(describe), b: right.map(describe))
    }
  }
}

extension ArchiveValue {
  /// Equality in which NaN equals NaN unless told otherwise.
  func isIdentical(to other: ArchiveValue, distinguishesNaN: Bool = false) -> Bool {
    func isIdentical(_ x: Double, _ y: Double) -> Bool {
      x == y || (!distinguishesNaN && x.isNaN && y.isNaN)
    }
    switch (self, other) {
    case (.real(let x), .real(let y)): return isIdentical(x, y)
    case (.complex(let x, let u), .complex(let y, let v)):
      return isIdentical(x, y) && isIdentical(u, v)
    default: return self == other
    }
  }

  /// A description in which different values differ: long bytes are shown by their start and a
  /// digest.
  var fullDescription: String {
    guard case .bytes(let bytes) = self else { return description }
    let shown = bytes.prefix(8).map { byte in
      (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }.joined()
    guard bytes.count > 8 else { return "0x\(shown)" }
    // FNV-1a, 64 bits: the same in every run.
    let digest = bytes.reduce(0xcbf2_9ce4_8422_2325 as UInt64) {
      ($0 ^ UInt64($1)) &* 0x100_0000_01b3
    }
    return "0x\(shown)… (\(counted(bytes.count, "byte")), FNV-1a \(String(digest, radix: 16)))"
  }
}
