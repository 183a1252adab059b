import OrderedCollections
import Storage

/// Changes of names, of what is in a model, and of element types, made on the way from one file to
/// another.
///
/// They are made in this order: `drops` match the input's names, `renames` change what is left, one
/// after the other, and `casts` match the names that result. Whatever comes after them, such as a
/// recipe, sees the new names and types.
///
/// ```swift
/// let edits = ArchiveEdits(
///   renames: [try NameReplacement(pattern: "^module\\.", template: "")],
///   drops: [try NameGlob("*.num_batches_tracked")],
///   casts: [try .init("*.weight", to: .bfloat16)])
/// let edited = try FormatRegistry.standard.open("model.pth").edited(by: edits)
/// try FormatRegistry.standard.write(
///   edited.archive, as: SafetensorsFormat(), to: "model.safetensors")
/// print(edited.changes.renamed.count, try edited.changes.castLosses().map(\.overflowCount))
/// ```
public struct ArchiveEdits: Hashable, Sendable {
  /// Replacements in names, applied one after the other.
  public var renames: [NameReplacement]
  /// Patterns of tensors and values that are left out.
  public var drops: [NameGlob]
  /// Element types of floating-point tensors; the first pattern that matches a name decides.
  public var casts: [Cast]

  /// A pattern of names, and the element type of the tensors that match it.
  public struct Cast: Hashable, Sendable {
    /// The pattern of the new names.
    public let pattern: NameGlob
    /// The element type: float64, float32, float16, bfloat16, or one of 8 bits with a mantissa.
    public let elementType: ElementType

    /// Creates a cast of the tensors whose names match a pattern.
    ///
    /// - Throws: `ModelError` when the pattern is invalid or tensors are not cast to the type.
    public init(_ pattern: String, to elementType: ElementType) throws {
      guard ElementType.castTargets.contains(elementType) else {
        throw ModelError.unsupported("tensors are not cast to \(elementType)")
      }
      self.pattern = try NameGlob(pattern)
      self.elementType = elementType
    }
  }

  public init(
    renames: [NameReplacement] = [], drops: [NameGlob] = [], casts: [Cast] = []
  ) {
    self.renames = renames
    self.drops = drops
    self.casts = casts
  }

  /// Whether nothing is changed.
  public var isEmpty: Bool { renames.isEmpty && drops.isEmpty && casts.isEmpty }
}

extension ArchiveEdits {
  /// Reads what `json` writes.
  package init(parsing members: inout JSONObjectReader) throws {
    self.init(
      renames: try members.objects("renames") { members in
        try NameReplacement(
          pattern: members.require("pattern", members.string("pattern")),
          template: members.require("replacement", members.string("replacement")))
      } ?? [],
      drops: try members.array("drops")?.map { json in
        guard case .string(let pattern) = json else {
          throw members.error(at: "drops", "expected patterns")
        }
        return try NameGlob(pattern)
      } ?? [],
      casts: try members.objects("casts") { members in
        let elementType: ElementType? = try members.choice("elementType")
        return try Cast(
          members.require("pattern", members.string("pattern")),
          to: members.require("elementType", elementType))
      } ?? [])
    // An edit that this version does not know changes what the file holds.
    try members.finish()
  }

  package var json: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = [:]
    if !drops.isEmpty { members["drops"] = .array(drops.map { .string($0.pattern) }) }
    if !renames.isEmpty {
      members["renames"] = .array(
        renames.map {
          .object(["pattern": .string($0.pattern), "replacement": .string($0.template)])
        })
    }
    if !casts.isEmpty {
      members["casts"] = .array(
        casts.map {
          .object([
            "pattern": .string($0.pattern.pattern), "elementType": .string($0.elementType.rawValue),
          ])
        })
    }
    return .object(members)
  }
}
