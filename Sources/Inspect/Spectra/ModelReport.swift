import Formats

/// What a model file holds, layer by layer, with the singular values of its weight matrices.
public struct ModelReport: Codable, Hashable, Sendable {
  /// The version of the JSON form, `schemas/model-report.schema.json`.
  package static let currentSchemaVersion = 1

  /// The version of the JSON form.
  public var schemaVersion = Self.currentSchemaVersion
  /// The path as the user gave it.
  public var file: String
  /// `FormatIdentifier.name`; `nil` for archives made in memory.
  public var format: String?
  /// The file's length; `nil` when the caller did not say.
  public var fileByteCount: Int?
  /// How many tensors the file names, listed below or not.
  public var tensorCount: Int
  /// Bytes of all tensors, each counted as often as it is named.
  public var tensorByteCount: Int
  /// Elements of all floating-point and complex tensors; a file does not tell buffers from
  /// parameters.
  public var parameterCount: Int
  /// The condition numbers listed below, in short; `nil` when there is none.
  public var condition: ConditionSummary?
  /// The path of the model that the layers are set beside.
  public var referenceFile: String?
  /// The condition numbers of the layers' counterparts in the reference.
  public var referenceCondition: ConditionSummary?
  /// What a packed file saves; `nil` for other files.
  public var packed: PackedSummary?
  /// What became of the rules; `nil` when there were none.
  public var rules: [RuleOutcome]?
  /// What could not be read of the file; `nil` where that is nothing.
  public var unread: [UnreadEntry]?
  /// Stored tensors that belong together, put together or not; `nil` where there are none.
  public var groups: [TensorGroup]?
  /// What the layers are ordered by, as `SortKey.rawValue`.
  public var sortedBy: String
  /// The selected tensors, in the order asked for.
  public var layers: [LayerReport]

  /// Whether no layer meets a rule.
  public var isPassed: Bool { rules?.allSatisfy(\.isPassed) ?? true }
}

/// The condition numbers of a model in a few numbers.
public struct ConditionSummary: Codable, Hashable, Sendable {
  /// How many matrices have a condition number, finite or not.
  public var matrixCount: Int
  /// How many of them are infinite; the following quantities leave them out.
  public var rankDeficientCount: Int
  /// The arithmetic mean, by which the CondiQuant paper compares models.
  public var mean: Double?
  /// The median of the finite ones; of an even count, the mean of the middle two.
  public var median: Double?
  /// The largest of the finite ones; `nil` when none is finite.
  public var maximum: Double?
  /// The tensor (and part) that has the maximum.
  public var maximumLayer: String?

  /// - Returns: `nil` when no layer has a condition number.
  init?(of layers: [LayerReport], condition: (LayerReport) -> Double?) {
    let all = layers.compactMap { layer in
      condition(layer).map { (title: layer.title, value: $0) }
    }
    guard !all.isEmpty else { return nil }
    let finite = all.filter(\.value.isFinite).sorted { $0.value < $1.value }
    matrixCount = all.count
    rankDeficientCount = all.count - finite.count
    guard let greatest = finite.last else { return }
    mean = finite.reduce(0) { $0 + $1.value / Double(finite.count) }
    let upper = finite[finite.count / 2].value
    let lower = finite[(finite.count - 1) / 2].value
    median = lower + (upper - lower) / 2
    maximum = greatest.value
    maximumLayer = greatest.title
  }
}
