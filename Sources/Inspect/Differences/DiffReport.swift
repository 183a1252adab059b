import Formats

/// What differs between two model files, of whatever formats.
public struct DiffReport: Codable, Hashable, Sendable {
  /// The version of the JSON form, `schemas/diff-report.schema.json`.
  package static let currentSchemaVersion = 2

  /// One of the two files, and how much of it is compared.
  public struct Side: Codable, Hashable, Sendable {
    /// The path as the user gave it.
    public var file: String
    /// `FormatIdentifier.name`; `nil` for archives made in memory.
    public var format: String?
    /// How many tensors are compared.
    public var tensorCount: Int
    /// Bytes of those tensors, each counted as often as it is named.
    public var tensorByteCount: Int
    /// Stored tensors that belong together, put together or not; `nil` where there are none.
    public var groups: [TensorGroup]?
  }

  /// The version of the JSON form.
  public var schemaVersion = Self.currentSchemaVersion
  /// The first file, which differences start from.
  public var a: Side
  /// The second file.
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
  /// Tensors of A without a counterpart in B, in A's order.
  public var onlyInA: [UnmatchedTensor]
  /// Tensors of B without a counterpart in A, in B's order.
  public var onlyInB: [UnmatchedTensor]
  /// Leaves that are no tensors.
  public var values: [ValueDifference]
  /// Free texts about the files as a whole; they never make files different.
  public var metadata: [ValueDifference]
}
