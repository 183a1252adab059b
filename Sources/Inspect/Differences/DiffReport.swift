/// What differs between two model files, of whatever formats.
public struct DiffReport: Codable, Hashable, Sendable {
  /// The version of the JSON form, `schemas/diff-report.schema.json`.
  public static let currentSchemaVersion = 2

  /// One of the two files.
  public struct Side: Codable, Hashable, Sendable {
    /// The path as the user gave it.
    public var file: String
    /// `FormatIdentifier.name`; `nil` for archives made in memory.
    public var format: String?
    /// How many tensors are compared.
    public var tensorCount: Int
    public var tensorByteCount: Int
  }

  public var schemaVersion = Self.currentSchemaVersion
  public var a: Side
  public var b: Side
  /// Absolute differences up to this many are none.
  public var tolerance: Double
  /// What counts instead for tensors of some names.
  public var tolerances: [NamedTolerance]
  /// Whether no tensor and no value differs and each name is in both. Metadata plays no part: it
  /// is free text, of which every format has its own.
  public var isSame: Bool
  /// The result in one line.
  public var verdict: String
  /// Tensors that are the same under the same name, in A's order.
  public var same: [String]
  /// Tensors of the same name that differ, in A's order.
  public var changed: [TensorDifference]
  /// Tensors found under another name, in A's order.
  public var renamed: [RenamedTensor]
  /// Tensors that are laid out otherwise: transposed, fused or split.
  public var relaid: [RelaidTensor]
  public var onlyInA: [UnmatchedTensor]
  public var onlyInB: [UnmatchedTensor]
  /// Leaves that are no tensors.
  public var values: [ValueDifference]
  public var metadata: [ValueDifference]
}
