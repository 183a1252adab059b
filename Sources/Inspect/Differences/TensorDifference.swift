import Formats
import Storage

/// The difference between two tensors that both archives contain.
///
/// ```swift
/// let (a, b) = try (FormatRegistry.standard.open("a.pth"), FormatRegistry.standard.open("b.pth"))
/// for difference in try DiffReport(a, b, fileA: "a.pth", fileB: "b.pth").changed {
///   print(difference.name, difference.kind, difference.a.shape, difference.b.shape)
/// }
/// ```
public struct TensorDifference: Codable, Hashable, Sendable {
  /// The first property that differs.
  public enum Kind: String, Codable, Sendable {
    /// The shapes, in which case no numbers are compared.
    case shape
    /// The element types; `numbers` shows whether the values differ as well.
    case elementType
    /// Only the values.
    case values
  }

  /// A tensor's type and shape on one side.
  public struct Side: Codable, Hashable, Sendable {
    /// The element type as `ElementType.rawValue`, or the file's own name of an unreadable type.
    public var elementType: String
    /// The dimensions, outermost first.
    public var shape: [Int]
  }

  /// The condition numbers σ_max/σ_min of both tensors as matrices `[out, in·kh·kw]`.
  public struct ConditionNumbers: Codable, Hashable, Sendable {
    /// σ_max/σ_min of A's tensor; infinite for a rank-deficient matrix.
    public var a: Double
    /// σ_max/σ_min of B's tensor; infinite for a rank-deficient matrix.
    public var b: Double
  }

  /// The name in A; part of a fused tensor has a label, as in `qkv.weight[q]`.
  public var name: String
  /// The name in B if it is different.
  public var nameB: String?
  /// The first property that differs.
  public var kind: Kind
  /// The tensor's type and shape in A.
  public var a: Side
  /// The tensor's type and shape in B.
  public var b: Side
  /// The numerical differences; `nil` if the shapes differ or the elements are not numbers.
  package var numbers: NumberComparison?
  /// The condition numbers; `nil` unless requested, and for tensors that are not finite matrices.
  public var conditionNumbers: ConditionNumbers?
  /// A remark on the comparison, such as why there are no numbers; usually `nil`.
  public var note: String?
}

/// A tensor that only one archive contains.
package struct UnmatchedTensor: Codable, Hashable, Sendable {
  /// The name in its file.
  package var name: String
  /// The element type as `ElementType.rawValue`.
  package var elementType: String
  /// The dimensions, outermost first.
  package var shape: [Int]
}

/// A tensor with different names in the archives, but equal type, shape and bytes.
package struct RenamedTensor: Codable, Hashable, Sendable {
  /// The name in A.
  package var nameA: String
  /// The name in B.
  package var nameB: String
  /// The element type as `ElementType.rawValue`.
  package var elementType: String
  /// The dimensions, outermost first.
  package var shape: [Int]
}

/// A tensor with different layouts in the archives.
///
/// `DiffReport.changed` shows whether the values of split and fused parts differ.
package struct RelaidTensor: Codable, Hashable, Sendable {
  /// The change of layout from A to B.
  package enum Change: String, Codable, Sendable {
    /// B has the same numbers with rows and columns exchanged.
    case transposed
    /// A query-key-value tensor of A is three tensors in B.
    case split
    /// The reverse of `split`.
    case fused
  }

  /// The tensors in A: one, or query, key and value.
  package var namesA: [String]
  /// The tensors in B: one, or query, key and value.
  package var namesB: [String]
  /// The change of layout from A to B.
  package var change: Change
}

/// A value or a metadata text that differs; `nil` on a side that lacks it.
package struct ValueDifference: Codable, Hashable, Sendable {
  /// The full name of the value, or the key of the metadata.
  package var name: String
  /// The value in A as text; `nil` if A lacks it.
  package var a: String?
  /// The value in B as text; `nil` if B lacks it.
  package var b: String?
}

extension ValueDifference {
  /// Returns entries that differ or exist on only one side, in the order of `names`.
  ///
  /// - Parameter names: The names of both sides; repetitions are ignored.
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
  /// Whether both values are equal, where NaN equals NaN unless it is distinguished.
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

  /// A description that distinguishes different values: long texts and byte strings are shown by their
  /// start and a digest.
  var fullDescription: String {
    switch self {
    case .bytes(let bytes):
      let shown = bytes.prefix(8).map { byte in
        (byte < 16 ? "0" : "") + String(byte, radix: 16)
      }.joined()
      guard bytes.count > 8 else { return "0x\(shown)" }
      return "0x\(shown)… (\(counted(bytes.count, "byte")), \(Self.digest(bytes)))"
    case .text(let text) where text.count > 200:
      let start = ArchiveValue.text("\(text.prefix(60))").description.dropLast()
      return "\(start)…' (\(counted(text.count, "character")), \(Self.digest(text.utf8)))"
    default: return description
    }
  }

  /// 64-bit FNV-1a, which is the same in every run.
  private static func digest(_ bytes: some Sequence<UInt8>) -> String {
    let digest = bytes.reduce(0xcbf2_9ce4_8422_2325 as UInt64) {
      ($0 ^ UInt64($1)) &* 0x100_0000_01b3
    }
    return "FNV-1a \(String(digest, radix: 16))"
  }
}
